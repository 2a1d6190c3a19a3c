"""A recogniser that says what was drawn into the audio: for tests and for load.

A word is a plateau of constant amplitude, ``(index in the vocabulary + 1) / 128``, which survives
16-bit samples; silence is zero. What is heard depends only on the samples, never on the position, so the
same audio says the same words however it is cut, and a decoder that is fooled by cuts can be imitated too.
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

#: Amplitude steps; a vocabulary has at most one word less.
AMPLITUDE_STEPS = 128
#: Seconds: a shorter run of one amplitude is the smear of a resampler, not a word and not a gap.
MIN_RUN_SECONDS = 0.02
#: Seconds: a plateau at the window's edge that shows less is misheard (``utterance`` and ``plain``).
WHOLE_WORD_SECONDS = 0.2

_WORD_LIST = """
one two three four five six seven eight nine ten alpha bravo charlie delta echo foxtrot golf hotel india
juliet kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu
red orange yellow green blue purple black white north south east west spring summer autumn winter bread
butter river mountain window garden silver copper morning evening
"""
#: The words that are known unless others are given.
VOCABULARY: tuple[str, ...] = tuple(_WORD_LIST.split())

#: Goes on from its carry. The left context shows the start of a word that is recognised at once.
STATEFUL = EngineRequirements("stateful", left_context=0.5)
#: Decodes the whole window anew and is fooled by words cut at its edges.
LOCAL_AGREEMENT = EngineRequirements("local_agreement")
#: The same decoder, given one window a segment.
OVERLAP = EngineRequirements("overlap")


def draw_words(
    words: Iterable[str | tuple[str, float]],
    *,
    rate: int = 16_000,
    word_seconds: float = 0.3,
    gap_seconds: float = 0.1,
    vocabulary: Sequence[str] = VOCABULARY,
) -> NDArray[np.float32]:
    """Return audio that ``ScriptedEngine`` hears as ``words``.

    Args:
        words: Each a word, or a word and its seconds; the word ``""`` is silence. A gap follows each.
        rate: Samples per second.
        word_seconds: Seconds of a word that names none; more than ``MIN_RUN_SECONDS``.
        gap_seconds: Seconds of silence after each word; none after a silence.
        vocabulary: The words there are.

    Returns:
        float32, shape ``(samples,)``, mono, 0..1.

    Raises:
        ValueError: A word that is not in the vocabulary.
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
    """What a decode pretends to cost, in seconds of sleep: once a call, and for each window in it."""

    batch_seconds: float = 0.0
    window_seconds: float = 0.0


class ScriptedEngine:
    """Says the words drawn into the audio (see ``draw_words``).

    ``carried`` walks the new part and, like a transducer, commits a word as soon as ``MIN_RUN_SECONDS`` of it is
    heard, with its times (a word cut by the edge lasts as long as it is shown, and is not said again); words
    that begin in the right context are volatile.
    ``utterance`` and ``plain`` say the whole window's words, volatile and without times; a plateau that
    touches the window's edge and shows less than ``WHOLE_WORD_SECONDS`` is heard as the vocabulary's next word.

    Args:
        requirements: ``STATEFUL``, ``LOCAL_AGREEMENT``, ``OVERLAP``, or one of them with other contexts.
        max_batch_size: The most windows of one call.
        max_concurrency: The most calls at the same time.
        cost: Seconds to sleep in each call.
        word_hooks: Called whenever their word is heard anywhere in a window; may raise or block.
        vocabulary: The words it knows, fewer than ``AMPLITUDE_STEPS``.
    """

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
        self._window_requirements, self._max_batch_size, self._max_concurrency = (
            requirements,
            max_batch_size,
            max_concurrency,
        )
        self._cost, self._word_hooks, self._vocabulary = cost, word_hooks, tuple(vocabulary)

    @property
    def name(self) -> str:
        """``scripted``."""
        return "scripted"

    @property
    def requirements(self) -> EngineRequirements:
        """How it wants its windows."""
        return self._window_requirements

    @property
    def max_batch_size(self) -> int:
        """The most windows of one call."""
        return self._max_batch_size

    @property
    def max_concurrency(self) -> int:
        """The most calls at the same time."""
        return self._max_concurrency

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return what is drawn into each window.

        Raises:
            Exception: Whatever a hook raises.
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
    """The voice activity that goes with ``ScriptedEngine``: a frame that is not silent is speech."""

    #: A quarter of the quietest word's amplitude.
    threshold = 1 / 512

    @property
    def sample_rate(self) -> int:
        """16,000 samples per second."""
        return 16_000

    @property
    def frame_samples(self) -> int:
        """512 samples, 32 ms."""
        return 512

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return 1.0 for each frame whose mean amplitude is above the threshold, else 0.0.

        Args:
            frames: float32, shape ``(n, 512)``, -1..1.
        """
        return [float(loud) for loud in np.abs(frames).mean(axis=1) > self.threshold]


@dataclass(frozen=True, slots=True)
class _AmplitudeRun:
    """Samples ``start`` to ``end`` (from the window's first; may be negative) of one amplitude."""

    level: int
    start: int
    end: int

    def shift_by(self, samples: int) -> _AmplitudeRun:
        return _AmplitudeRun(self.level, self.start + samples, self.end + samples)


@dataclass(frozen=True, slots=True)
class _ScriptedState:
    """Where a reading stopped; positions count from there, so they are 0 or negative.

    ``last_run`` is the last run that was long enough. ``open_run`` is the run that touches the edge: it may go
    on, so it is looked at again together with what follows.
    """

    last_run: _AmplitudeRun
    open_run: _AmplitudeRun


_INITIAL_STATE = _ScriptedState(_AmplitudeRun(0, 0, 0), _AmplitudeRun(0, 0, 0))


def _find_word_runs(
    levels: NDArray[np.intp], position: int, state: _ScriptedState | None, rate: int
) -> tuple[list[_AmplitudeRun], _ScriptedState]:
    """Return the words first heard in ``levels``, which begin at ``position``, and where it stopped."""
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
