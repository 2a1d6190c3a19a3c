"""A fake engine for tests and load: recognises words that ``draw_words`` draws into the audio.

A word is a plateau of constant amplitude, ``(index in the vocabulary + 1) / 128``, which survives 16-bit
samples; silence is zero. The result depends only on the samples, never on their position, so the same audio
gives the same words in any windows. The engine can also imitate a decoder that misreads words at the edges of
a window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token, Window

#: Amplitude steps; a vocabulary has fewer words.
AMPLITUDE_STEPS = 128
#: Seconds of the shortest word or gap; a shorter run of one amplitude is an artefact of a resampler.
MIN_RUN_SECONDS = 0.02
#: Seconds of a plateau at the edge of a window below which it is misread (without a state).
WHOLE_WORD_SECONDS = 0.2

_WORD_LIST = """
one two three four five six seven eight nine ten alpha bravo charlie delta echo foxtrot golf hotel india
juliet kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu
red orange yellow green blue purple black white north south east west spring summer autumn winter bread
butter river mountain window garden silver copper morning evening
"""
#: The default vocabulary.
VOCABULARY: tuple[str, ...] = tuple(_WORD_LIST.split())

#: Continues from its state. The left context shows the start of a word that is recognised at once.
STATEFUL = EngineRequirements("stateful", left_context=0.5)
#: Decodes whole windows, and misreads words that are cut at the edges.
LOCAL_AGREEMENT = EngineRequirements("local_agreement")
#: The same decoder with one window per segment.
OVERLAP = EngineRequirements("overlap")


def draw_words(
    words: Iterable[str | tuple[str, float]],
    *,
    rate: int = 16_000,
    word_seconds: float = 0.3,
    gap_seconds: float = 0.1,
    vocabulary: Sequence[str] = VOCABULARY,
) -> NDArray[np.float32]:
    """Return audio that ``ScriptedEngine`` recognises as ``words``.

    Args:
        words: Words, or pairs of a word and its seconds; the word ``""`` is silence.
        rate: Samples per second.
        word_seconds: Seconds of a word without its own; more than ``MIN_RUN_SECONDS``.
        gap_seconds: Seconds of silence after each word; none after a silence.
        vocabulary: The vocabulary of the engine.

    Returns:
        float32, shape ``(samples,)``, mono, 0..1.

    Raises:
        ValueError: A word is not in the vocabulary.
    """
    levels = {word: index + 1 for index, word in enumerate(vocabulary)}
    pieces = [np.zeros(0, np.float32)]
    for item in words:
        word, seconds = (item, word_seconds) if isinstance(item, str) else item
        if word and word not in levels:
            raise ValueError(f"not in the vocabulary: {word!r}")
        pieces.append(np.full(round(seconds * rate), levels.get(word, 0) / AMPLITUDE_STEPS, np.float32))
        pieces.append(np.zeros(round(gap_seconds * rate) if word else 0, np.float32))
    return np.concatenate(pieces)


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """The simulated cost of decoding, in seconds of sleep."""

    #: Seconds per call.
    batch_seconds: float = 0.0
    #: Seconds per window.
    window_seconds: float = 0.0


class ScriptedEngine:
    """Recognises the words that are drawn into the audio (see ``draw_words``).

    With ``stateful`` requirements it decodes the new part and, like a transducer, commits a word with its
    times as soon as ``MIN_RUN_SECONDS`` of it are audible. A word that the window cuts has the duration up to
    the cut, and is not repeated. Words that begin in the right context are volatile.
    With ``local_agreement`` and ``overlap`` it returns the words of the whole window, volatile and without
    times. It misreads a plateau at the edge of the window that is shorter than ``WHOLE_WORD_SECONDS`` as the
    next word of the vocabulary.

    Args:
        requirements: ``STATEFUL``, ``LOCAL_AGREEMENT``, ``OVERLAP``, or one of them with other contexts.
        max_batch_size: The most windows of one call.
        max_concurrency: The most calls at the same time.
        cost: Seconds to sleep in each call.
        word_hooks: Functions to call whenever their word is in a window; they may raise or block.
        vocabulary: The vocabulary, fewer words than ``AMPLITUDE_STEPS``.
    """

    name = "scripted"

    def __init__(
        self,
        requirements: EngineRequirements = STATEFUL,
        *,
        max_batch_size: int = 8,
        max_concurrency: int = 1,
        cost: DecodeCost = DecodeCost(),
        word_hooks: Mapping[str, Callable[[], object]] = MappingProxyType({}),
        vocabulary: Sequence[str] = VOCABULARY,
    ) -> None:
        self._window_requirements = requirements
        self.max_batch_size, self.max_concurrency = max_batch_size, max_concurrency
        self._cost, self._word_hooks, self._vocabulary = cost, word_hooks, tuple(vocabulary)

    @property
    def requirements(self) -> EngineRequirements:
        """The requirements that the engine was built with."""
        return self._window_requirements

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words that are drawn into each window.

        Raises:
            Exception: The exception of a hook.
        """
        if cost := self._cost.batch_seconds + self._cost.window_seconds * len(windows):
            time.sleep(cost)
        return [self._decode_window(window) for window in windows]

    def close(self) -> None:
        """Do nothing: there are no weights."""

    def _decode_window(self, window: Window) -> Hypothesis:
        if self._word_hooks:
            for word in self._find_words(window):
                self._word_hooks.get(word, _do_nothing)()
        if self._window_requirements.strategy == "stateful":
            return self._decode_stateful(window)
        return Hypothesis(
            volatile=tuple(Token(" " + word) for word in self._find_words(window, misread_edges=True))
        )

    def _find_words(self, window: Window, *, misread_edges: bool = False) -> Iterator[str]:
        rate, size = window.sample_rate, window.audio.size
        words, _ = _find_word_runs(self._quantize_levels(window.audio), 0, None, rate)
        for run in words:
            cut = run.start == 0 or run.end == size
            wrong = misread_edges and cut and run.end - run.start < WHOLE_WORD_SECONDS * rate
            yield self._vocabulary[(run.level - 1 + wrong) % len(self._vocabulary)]

    def _decode_stateful(self, window: Window) -> Hypothesis:
        rate, edge = window.sample_rate, window.left_context + window.new_samples
        levels = self._quantize_levels(window.audio)
        before = window.state if isinstance(window.state, _ScriptedState) else None
        words, after = _find_word_runs(levels[window.left_context : edge], window.left_context, before, rate)
        ahead, _ = _find_word_runs(levels[edge:], edge, after, rate)
        return Hypothesis(self._build_tokens(words, rate), self._build_tokens(ahead, rate), after)

    def _build_tokens(self, runs: Iterable[_AmplitudeRun], rate: int) -> tuple[Token, ...]:
        return tuple(
            Token(
                " " + self._vocabulary[run.level - 1],
                start=max(0, run.start) / rate,
                duration=(run.end - max(0, run.start)) / rate,
                confidence=1.0,
            )
            for run in runs
        )

    def _quantize_levels(self, audio: NDArray[np.float32]) -> NDArray[np.intp]:
        levels = np.rint(np.abs(audio) * AMPLITUDE_STEPS).astype(np.intp)
        return np.where(levels <= len(self._vocabulary), levels, 0)


class PlateauDetector:
    """A voice-activity detector for ``draw_words``: every frame that is not silent is speech."""

    #: Mean amplitude: a quarter of the quietest word's.
    threshold = 1 / 512

    sample_rate = 16_000
    #: 32 ms.
    frame_samples = 512

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return 1.0 for each frame whose mean amplitude is above the threshold, else 0.0.

        Args:
            frames: float32, shape ``(n, 512)``, -1..1.
        """
        return [float(loud) for loud in np.abs(frames).mean(axis=1) > self.threshold]


@dataclass(frozen=True, slots=True)
class _AmplitudeRun:
    """A run of one amplitude; ``start`` and ``end`` are samples of the window, and may be negative."""

    level: int
    start: int
    end: int

    def shift_by(self, samples: int) -> _AmplitudeRun:
        return _AmplitudeRun(self.level, self.start + samples, self.end + samples)


@dataclass(frozen=True, slots=True)
class _ScriptedState:
    """The decoder state after a window; positions count from its end, so they are 0 or negative."""

    #: The last run that was long enough.
    last_run: _AmplitudeRun
    #: The run at the end of the window; it may continue in the next window.
    open_run: _AmplitudeRun


_INITIAL_STATE = _ScriptedState(_AmplitudeRun(0, 0, 0), _AmplitudeRun(0, 0, 0))


def _find_word_runs(
    levels: NDArray[np.intp], position: int, state: _ScriptedState | None, rate: int
) -> tuple[list[_AmplitudeRun], _ScriptedState]:
    """Return the runs of words that begin in ``levels``, and the state after it.

    Args:
        levels: Amplitude steps, shape ``(samples,)``.
        position: The position of the first sample in the window.
        state: The state after the previous samples, or None.
        rate: Samples per second.
    """
    state = state or _INITIAL_STATE
    tail, runs = state.open_run.shift_by(position), [state.last_run.shift_by(position)]
    for run in _split_runs(levels, position):
        tail = _AmplitudeRun(run.level, tail.start if run.level == tail.level else run.start, run.end)
        if tail.end - tail.start < MIN_RUN_SECONDS * rate:
            continue
        if tail.level == runs[-1].level:
            runs[-1] = _AmplitudeRun(tail.level, runs[-1].start, tail.end)
        else:
            runs.append(tail)
    edge = position + levels.size
    return [run for run in runs[1:] if run.level], _ScriptedState(
        runs[-1].shift_by(-edge), tail.shift_by(-edge)
    )


def _split_runs(levels: NDArray[np.intp], position: int) -> Iterator[_AmplitudeRun]:
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), levels.size]
    for start, end in pairwise(edges):
        if end > start:
            yield _AmplitudeRun(int(levels[start]), position + start, position + end)


def _do_nothing() -> None:
    pass
