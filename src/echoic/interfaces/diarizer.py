"""Sound to tell speakers apart in, and what is heard there: the seam to the speakers' models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Samples per second of every ``Sound``.
DIARIZATION_SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """What a client says of the speakers.

    Attributes:
        count: How many there are, or None: nobody knows.
        max_count: How many there are at most, or None.
    """

    count: int | None = None
    max_count: int | None = None


@dataclass(frozen=True, slots=True)
class DiarizationChunk:
    """The next piece of a session's audio: it begins where the piece before it ended.

    Attributes:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1; read-only; any length.
        start: Seconds on the session's clock of the first sample.
        speech_spans: Where there is speech, in samples of ``audio``, in order; all of it where nobody listens.
        is_last: Nothing follows soon: whatever is still undecided is to be decided.
        state: The ``carry`` of the answer before, or None at a start.
        options: What the client says of the speakers.
    """

    audio: NDArray[np.float32] = field(repr=False)
    start: float
    speech_spans: tuple[tuple[int, int], ...]
    is_last: bool = False
    state: object = field(default=None, repr=False)
    options: SpeakerOptions = SpeakerOptions()


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """One speaker from ``start`` to ``end``, in seconds on the session's clock; ids count from 0."""

    start: float
    end: float
    speaker: int


@dataclass(frozen=True, slots=True)
class DiarizationResult:
    """A diarizer's answer for a piece of sound.

    Attributes:
        turns: Who speaks in it, and before it where no answer said so yet (a piece may be too short to tell),
            in order of their starts; two speakers' may overlap, one's do not; pauses belong to nobody.
        state: What it knows of the session after this piece, opaque to everyone but itself; of bounded size.
    """

    turns: tuple[SpeakerTurn, ...]
    state: object = field(default=None, repr=False)


class Diarizer(Protocol):
    """A loaded diarizer. It holds weights and no session: what it must remember travels as ``carry``.

    It is called from worker threads, from several at once.
    """

    @property
    def name(self) -> str:
        """Its own name, as the status endpoint lists it."""

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Return who speaks in each piece of sound, in their order.

        The pieces are of different sessions. An answer must not depend on which other pieces are in the
        call. A speaker's id is the number of speakers that the session had before, and stays the same.

        Raises:
            Exception: Anything; the pieces then have no speakers, and nothing else is lost.
        """

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return the best account of all that a session heard, in the order of ``DiarizationResult``.

        It may correct what ``diarize`` said, by the same ids. It costs more than that, but is bounded, as
        is the carry: of a long session the account may be coarser than the answers were.

        Args:
            state: The ``state`` of the session's last ``DiarizationResult``; None: nothing was heard.

        Raises:
            Exception: Anything; the answers of ``diarize`` then stand.
        """

    def close(self) -> None:
        """Release the weights."""
