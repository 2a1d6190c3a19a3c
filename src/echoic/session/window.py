"""Windows: pieces of audio to decode, and what an engine wants of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from echoic.text.vocabulary import NO_HOTWORDS, Hotwords

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class WindowNeeds:
    """How an engine wants its windows cut.

    Attributes:
        reading: ``carried``: decodes only the new part and goes on from its ``carry``;
            ``utterance``: has no state and is poisoned by cut words, so windows grow from the last
            pause and only what is settled is said; ``plain``: one window a segment, aligned by text.
        sample_rate: Samples per second it must be given; None: whatever the client sends.
        left_context: Seconds before the new part (``carried``).
        right_context: Seconds after the new part, decoded later (``carried``).
        longest: Seconds of the longest window (``utterance``).
        step: Seconds between the ends of two windows of an utterance that goes on, partials included
            (``utterance``): for engines whose windows cost the same however short they are. 0: as often
            as it is good for.
        sure: Confidence below which a word, and what follows it, is not said before its utterance is over
            (``utterance``).
        times: Whether its tokens have times.
        terms: What it can do with terms to listen for: ``boost`` each wherever it may be said, read them in a
            ``prompt``, or nothing.
    """

    reading: Literal["carried", "utterance", "plain"]
    sample_rate: int | None = 16_000
    left_context: float = 0.0
    right_context: float = 0.0
    longest: float = 20.0
    step: float = 0.0
    sure: float = 0.0
    times: bool = False
    terms: Literal["none", "prompt", "boost"] = "none"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What a session asks of every decode.

    Attributes:
        language: BCP 47 tag as a hint, or None.
        hotwords: Terms to listen for; the same object as long as they are the same.
        prompt: The same for a model that reads a prompt, or None.
    """

    language: str | None = None
    hotwords: Hotwords = NO_HOTWORDS
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Audio to decode.

    Attributes:
        audio: float32, shape ``(left + new + right,)``, mono, -1..1; read-only.
        sample_rate: Samples per second of ``audio``.
        start: Seconds on the session's clock of the first sample.
        left: Samples of context before the new part.
        new: Samples that are new.
        right: Samples of context after it, that will be new later.
        last: True if nothing follows soon: everything heard is to be committed.
        glimpse: True if what the right context says is wanted too, as volatile tokens.
        carry: The ``carry`` of the hypothesis before, or None at a start.
        options: What the session asks of every decode.
    """

    audio: NDArray[np.float32] = field(repr=False)
    sample_rate: int
    start: float
    left: int
    new: int
    right: int
    last: bool = False
    glimpse: bool = False
    carry: object = field(default=None, repr=False)
    options: DecodeOptions = DecodeOptions()
