"""What an engine says of a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.text.vocabulary import NO_HOTWORDS, Hotwords


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of text; a leading space marks the start of a word.

    Attributes:
        text: The piece, e.g. ``" hel"`` then ``"lo"``.
        start: Seconds from the window's first sample, or None where the engine gives no times.
        duration: Seconds, or None.
        confidence: 0..1, or None.
    """

    text: str
    start: float | None = None
    duration: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An engine's answer for one window.

    Attributes:
        committed: Tokens that will not change, whatever follows (engines that carry state).
        volatile: Tokens that later audio may change; everything, for engines without state.
        state: The decoder's state after ``committed``, opaque to everyone but its engine.
    """

    committed: tuple[Token, ...] = ()
    volatile: tuple[Token, ...] = ()
    state: object = None


def build_text_hypothesis(text: str) -> Hypothesis:
    """Return the hypothesis of an engine that answers with bare text: volatile words, no times."""
    return Hypothesis(volatile=tuple(Token(" " + word) for word in text.split()))


@dataclass(frozen=True, slots=True)
class EngineRequirements:
    """How an engine wants its windows cut.

    Attributes:
        strategy: ``stateful``: decodes only the new part and goes on from its ``carry``;
            ``local_agreement``: has no state and is poisoned by cut words, so windows grow from the last
            pause and only what is settled is said; ``overlap``: one window a segment, aligned by text.
        sample_rate: Samples per second it must be given; None: whatever the client sends.
        left_context: Seconds before the new part (``stateful``).
        right_context: Seconds after the new part, decoded later (``stateful``).
        max_window_seconds: Seconds of the longest window (``local_agreement``).
        window_step_seconds: Seconds between the ends of two windows of an utterance that goes on, partials included
            (``local_agreement``): for engines whose windows cost the same however short they are. 0: as often
            as it is good for.
        min_confidence: Confidence below which a word, and what follows it, is not said before its utterance is over
            (``local_agreement``).
        has_word_times: Whether its tokens have times.
        hotword_support: What it can do with terms to listen for: ``boost`` each wherever it may be said, read them in a
            ``prompt``, or nothing.
    """

    strategy: Literal["stateful", "local_agreement", "overlap"]
    sample_rate: int | None = 16_000
    left_context: float = 0.0
    right_context: float = 0.0
    max_window_seconds: float = 20.0
    window_step_seconds: float = 0.0
    min_confidence: float = 0.0
    has_word_times: bool = False
    hotword_support: Literal["none", "prompt", "boost"] = "none"


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
        left_context: Samples of context before the new part.
        new_samples: Samples that are new.
        right_context: Samples of context after it, that will be new later.
        is_last: True if nothing follows soon: everything heard is to be committed.
        for_partial: True if what the right context says is wanted too, as volatile tokens.
        state: The ``carry`` of the hypothesis before, or None at a start.
        options: What the session asks of every decode.
    """

    audio: NDArray[np.float32] = field(repr=False)
    sample_rate: int
    start: float
    left_context: int
    new_samples: int
    right_context: int
    is_last: bool = False
    for_partial: bool = False
    state: object = field(default=None, repr=False)
    options: DecodeOptions = DecodeOptions()


class Engine(Protocol):
    """A loaded recogniser. It holds weights and no session: what it must remember travels as ``carry``.

    ``decode`` is called from worker threads, several at once if ``max_concurrency`` allows it.
    """

    @property
    def name(self) -> str:
        """The model's own name, as the status endpoint lists it."""

    @property
    def requirements(self) -> EngineRequirements:
        """How it wants its windows."""

    @property
    def max_batch_size(self) -> int:
        """The most windows one ``decode`` should be given."""

    @property
    def max_concurrency(self) -> int:
        """The most ``decode`` calls that may run at the same time."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one hypothesis for each window, in their order.

        A window's hypothesis must not depend on which other windows are in the call.

        Raises:
            Exception: Anything; the worker retries the windows one by one and turns what still
                fails into ``DecodeFailed`` for that window alone.
        """

    def close(self) -> None:
        """Release the weights."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model a client asked for: its name and variant as the protocol resolves them."""

    model: str
    variant: str


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """The model that a session gets.

    Attributes:
        name: The active model's own name.
        requirements: How it wants its windows.
        fallback_reason: Why another model than the one asked for answers (a sentence), or None.
        languages: The languages it knows, lower-case and without region; empty: any, or nobody says.
    """

    name: str
    requirements: EngineRequirements
    fallback_reason: str | None = None
    languages: tuple[str, ...] = ()
