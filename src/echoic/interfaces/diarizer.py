"""Interface of a speaker diarizer: consecutive chunks of audio in, speaker turns out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Samples per second of every ``DiarizationChunk``.
DIARIZATION_SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """The number of speakers, as far as the client knows."""

    count: int | None = None
    """Exact number of speakers, or None."""
    max_count: int | None = None
    """Maximum number of speakers, or None."""


@dataclass(frozen=True, slots=True)
class DiarizationChunk:
    """The next chunk of a session's audio; it starts where the chunk before ended."""

    audio: NDArray[np.float32] = field(repr=False)
    """float32, shape ``(n,)``, mono, 16 kHz, -1..1; read-only; any length."""
    start: float
    """Seconds on the session's clock of the first sample."""
    speech_spans: tuple[tuple[int, int], ...]
    """Start and end of each stretch of speech, in samples of ``audio``, in order. Without a voice activity
    detector: one span of the whole chunk."""
    is_last: bool = False
    """Whether the audio ends here for now (commit, stop): decide all pending turns."""
    state: object = field(default=None, repr=False)
    """``DiarizationResult.state`` of the chunk before, or None at the start."""
    options: SpeakerOptions = SpeakerOptions()
    """Number of speakers."""


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """Continuous speech of one speaker."""

    start: float
    """Seconds on the session's clock."""
    end: float
    """Seconds on the session's clock."""
    speaker: int
    """Speaker id, from 0."""


@dataclass(frozen=True, slots=True)
class DiarizationResult:
    """The result of diarizing one chunk."""

    turns: tuple[SpeakerTurn, ...]
    """Turns in this chunk, and turns before it that no earlier result contained, ordered by start. Turns of
    different speakers may overlap; turns of one speaker do not."""
    state: object = field(default=None, repr=False)
    """State of the session after this chunk; opaque to all but the diarizer, of bounded size."""


class Diarizer(Protocol):
    """A loaded diarization model. It holds weights and nothing about a session.

    Threads: all methods but ``close`` are called from several worker threads at once.
    """

    @property
    def name(self) -> str:
        """Name of the model, as listed by the status endpoint."""

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Diarize a batch of chunks of different sessions.

        The result of a chunk must not depend on the other chunks of the batch. A new speaker's id is the
        number of speakers that the session had before; ids never change.

        Returns:
            One result per chunk, in the same order.

        Raises:
            Exception: Any. The words of these chunks then have no speakers.
        """

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return the best estimate of all turns of a session, ordered as in ``DiarizationResult.turns``.

        The estimate may correct earlier results; speakers keep their ids. It costs more than ``diarize`` but
        is bounded, as the state is: for long sessions it may be coarser than the earlier results.

        Args:
            state: ``DiarizationResult.state`` of the last chunk, or None without any.

        Raises:
            Exception: Any. The earlier results then stand.
        """

    def close(self) -> None:
        """Release the weights."""
