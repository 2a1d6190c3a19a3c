"""Interface of a speech recognition engine: windows of audio in, hypotheses out.

An engine holds model weights and nothing about a session. Everything a decode needs travels with the window:
the audio, its context, and the decoder state that the engine returned for the window before. So a batch may
mix sessions, windows of one session may be decoded on different threads, and a failed decode can be repeated.

Windows depend on ``EngineRequirements.strategy``:

- ``stateful``: each window brings new audio with left and right context, and the state after the window
  before. The engine returns tokens of the new audio as ``committed``.
- ``local_agreement``: each window is one utterance from its start up to now. The engine keeps no state and
  returns all tokens as ``volatile``; the session emits the words on which two decodes agree.
- ``overlap``: one window per segment, which overlaps the window before. The engine keeps no state and returns
  all tokens as ``volatile``; the session removes the words that both windows contain.

A minimal engine that returns text only::

    class UpperCaseEngine:
        name = "my-model"
        requirements = EngineRequirements("overlap", sample_rate=16_000)
        max_batch_size = 1
        max_concurrency = 1

        def __init__(self) -> None:
            self._model = load_my_model()

        def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
            return [build_text_hypothesis(self._model.transcribe(window.audio)) for window in windows]

        def close(self) -> None:
            del self._model

``tests/contracts/test_engine_contract.py`` checks what every engine must do. See docs/architecture.md for
how a new engine is registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.text.vocabulary import NO_HOTWORDS, Hotwords


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text, often a part of a word."""

    text: str
    """The text; a leading space marks the start of a word: ``" hel"``, then ``"lo"``."""
    start: float | None = None
    """Seconds from the first sample of the window (context included), or None without times."""
    duration: float | None = None
    """Seconds, or None."""
    confidence: float | None = None
    """0..1, or None."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result of decoding one window."""

    committed: tuple[Token, ...] = ()
    """Tokens that later audio cannot change. Only ``stateful`` engines commit tokens."""
    volatile: tuple[Token, ...] = ()
    """Tokens that later audio may change; all tokens, for engines without state."""
    state: object = None
    """Decoder state after ``committed``. Opaque to all but the engine; must not be changed afterwards."""


def build_text_hypothesis(text: str) -> Hypothesis:
    """Return the hypothesis of an engine that returns plain text: volatile words without times."""
    return Hypothesis(volatile=tuple(Token(" " + word) for word in text.split()))


@dataclass(frozen=True, slots=True)
class EngineRequirements:
    """How the session must cut the windows of an engine, and what the engine supports."""

    strategy: Literal["stateful", "local_agreement", "overlap"]
    """How windows follow each other; see the module's docstring."""
    sample_rate: int | None = 16_000
    """Samples per second of ``Window.audio``. None means the rate of the client's audio."""
    left_context: float = 0.0
    """Seconds of audio before the new part of a window (``stateful``)."""
    right_context: float = 0.0
    """Seconds of audio after the new part of a window (``stateful``)."""
    max_window_seconds: float = 20.0
    """Length of the longest window in seconds (``local_agreement``)."""
    window_step_seconds: float = 0.0
    """Seconds by which the window of an open utterance grows at least, for finals and partials alike
    (``local_agreement``). For engines whose decode costs the same for short windows. 0 means no minimum."""
    min_confidence: float = 0.0
    """Words below this confidence, and all words after them, are emitted only when their utterance is over
    (``local_agreement``)."""
    has_word_times: bool = False
    """Whether tokens have ``start`` and ``duration``."""
    hotword_support: Literal["none", "prompt", "boost"] = "none"
    """How the engine uses hotwords: not at all, as the text ``DecodeOptions.prompt``, or by boosting
    ``DecodeOptions.hotwords`` in the search."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Options of a session that apply to all its decodes."""

    language: str | None = None
    """Language hint (BCP 47), or None."""
    hotwords: Hotwords = NO_HOTWORDS
    """Terms to boost. The same object as long as the terms are the same: an engine may cache by identity."""
    prompt: str | None = None
    """The terms as a text prompt, or None."""


@dataclass(frozen=True, slots=True)
class Window:
    """Audio to decode: left context, new audio, right context."""

    audio: NDArray[np.float32] = field(repr=False)
    """float32, shape ``(left_context + new_samples + right_context,)``, mono, -1..1; read-only."""
    sample_rate: int
    """Samples per second of ``audio``."""
    start: float
    """Seconds on the session's clock of the first sample."""
    left_context: int
    """Samples of context before the new audio; they were new in an earlier window."""
    new_samples: int
    """Samples of new audio."""
    right_context: int
    """Samples of context after the new audio; they will be new in a later window."""
    is_last: bool = False
    """Whether the audio ends here for now (commit, stop, end of an utterance): commit all tokens."""
    for_partial: bool = False
    """Whether the window is for a partial: return tokens of the right context as ``volatile``."""
    state: object = field(default=None, repr=False)
    """``Hypothesis.state`` of the window before, or None at the start. Must not be modified."""
    options: DecodeOptions = DecodeOptions()
    """Options of the session."""


class Engine(Protocol):
    """A loaded speech recognition model.

    Threads: ``decode`` is called from worker threads, at most ``max_concurrency`` calls at a time.
    ``close`` is called once, when no decode is running.
    """

    @property
    def name(self) -> str:
        """Name of the model, as listed by the status endpoint."""

    @property
    def requirements(self) -> EngineRequirements:
        """How windows must be cut; constant."""

    @property
    def max_batch_size(self) -> int:
        """Maximum number of windows per ``decode`` call; at least 1."""

    @property
    def max_concurrency(self) -> int:
        """Maximum number of concurrent ``decode`` calls; at least 1."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Decode a batch of windows, of the same or of different sessions.

        The hypothesis of a window must not depend on the other windows of the batch, nor on earlier calls:
        the same window may be decoded again.

        Args:
            windows: 1 to ``max_batch_size`` windows of any lengths, at ``requirements.sample_rate``.

        Returns:
            One hypothesis per window, in the same order.

        Raises:
            Exception: Any. The worker then decodes the windows of the batch one by one; a window that fails
                alone becomes a ``DecodeFailed`` for its session and does not affect the others.
        """

    def close(self) -> None:
        """Release the weights."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model that a client requests, after the protocol's defaults."""

    model: str
    """Name of the model as the client wrote it."""
    variant: str
    """``standard``, ``onnx`` or ``mlx``."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """The model that decodes a session."""

    name: str
    """Name of the active model."""
    requirements: EngineRequirements
    """How its windows must be cut."""
    fallback_reason: str | None = None
    """Why this model replaces the requested one (a sentence), or None."""
    languages: tuple[str, ...] = ()
    """Language codes that it knows, in lower case, without region. Empty means any or unknown."""
