"""A recogniser that says what was drawn into the audio: for tests and for load.

A word is a plateau of constant amplitude, ``(index in the vocabulary + 1) / 128``, which survives
16-bit samples; silence is zero. What is heard depends only on the samples, never on the position, so the
same audio says the same words however it is cut, and a decoder that is fooled by cuts can be imitated too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from echoic.session.window import Window

#: Amplitude steps; a vocabulary has at most one word less.
STEPS = 128
#: Seconds: a shorter run of one amplitude is the smear of a resampler, not a word and not a gap.
SHORTEST_RUN = 0.02
#: Seconds: a plateau at the window's edge that shows less is misheard (``utterance`` and ``plain``).
WHOLE_WORD = 0.2

_WORDS = """
one two three four five six seven eight nine ten alpha bravo charlie delta echo foxtrot golf hotel india
juliet kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu
red orange yellow green blue purple black white north south east west spring summer autumn winter bread
butter river mountain window garden silver copper morning evening
"""
#: The words that are known unless others are given.
VOCABULARY: tuple[str, ...] = tuple(_WORDS.split())

#: Goes on from its carry. The left context shows the start of a word that is recognised at once.
CARRIED = WindowNeeds("carried", left_context=0.5)
#: Decodes the whole window anew and is fooled by words cut at its edges.
UTTERANCE = WindowNeeds("utterance")
#: The same decoder, given one window a segment.
PLAIN = WindowNeeds("plain")


def draw(
    words: Iterable[str | tuple[str, float]],
    *,
    rate: int = 16_000,
    word_seconds: float = 0.3,
    gap_seconds: float = 0.1,
    vocabulary: Sequence[str] = VOCABULARY,
) -> NDArray[np.float32]:
    """Return audio that ``Scripted`` hears as ``words``.

    Args:
        words: Each a word, or a word and its seconds; the word ``""`` is silence. A gap follows each.
        rate: Samples per second.
        word_seconds: Seconds of a word that names none; more than ``SHORTEST_RUN``.
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
        pieces.append(np.full(round(seconds * rate), levels.get(word, 0) / STEPS, np.float32))
        pieces.append(np.zeros(round(gap_seconds * rate) if word else 0, np.float32))
    return np.concatenate(pieces)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a decode pretends to cost, in seconds of sleep: once a call, and for each window in it."""

    batch: float = 0.0
    window: float = 0.0


class Scripted:
    """Says the words drawn into the audio (see ``draw``).

    ``carried`` walks the new part and, like a transducer, commits a word as soon as ``SHORTEST_RUN`` of it is
    heard, with its times (a word cut by the edge lasts as long as it is shown, and is not said again); words
    that begin in the right context are volatile.
    ``utterance`` and ``plain`` say the whole window's words, volatile and without times; a plateau that
    touches the window's edge and shows less than ``WHOLE_WORD`` is heard as the vocabulary's next word.

    Args:
        needs: ``CARRIED``, ``UTTERANCE``, ``PLAIN``, or one of them with other contexts.
        lanes: The most windows of one call.
        threads: The most calls at the same time.
        cost: Seconds to sleep in each call.
        hooks: Called whenever their word is heard anywhere in a window; may raise or block.
        vocabulary: The words it knows, fewer than ``STEPS``.
    """

    def __init__(
        self,
        needs: WindowNeeds = CARRIED,
        *,
        lanes: int = 8,
        threads: int = 1,
        cost: Cost = Cost(),
        hooks: Mapping[str, Callable[[], object]] = MappingProxyType({}),
        vocabulary: Sequence[str] = VOCABULARY,
    ) -> None:
        self._needs, self._lanes, self._threads = needs, lanes, threads
        self._cost, self._hooks, self._vocabulary = cost, hooks, tuple(vocabulary)

    @property
    def name(self) -> str:
        """``scripted``."""
        return "scripted"

    @property
    def needs(self) -> WindowNeeds:
        """How it wants its windows."""
        return self._needs

    @property
    def lanes(self) -> int:
        """The most windows of one call."""
        return self._lanes

    @property
    def threads(self) -> int:
        """The most calls at the same time."""
        return self._threads

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return what is drawn into each window.

        Raises:
            Exception: Whatever a hook raises.
        """
        if cost := self._cost.batch + self._cost.window * len(windows):
            time.sleep(cost)
        return [self._decode(window) for window in windows]

    def close(self) -> None:
        """Do nothing: there are no weights."""

    def _decode(self, window: Window) -> Hypothesis:
        if self._hooks:
            for word in self._words(window):
                self._hooks.get(word, _nothing)()
        if self._needs.reading == "carried":
            return self._continued(window)
        return Hypothesis(volatile=tuple(Token(" " + word) for word in self._words(window, fooled=True)))

    def _words(self, window: Window, *, fooled: bool = False) -> Iterator[str]:
        rate, size = window.sample_rate, window.audio.size
        words, _ = _read(self._levels(window.audio), 0, None, rate)
        for run in words:
            cut = run.start == 0 or run.end == size
            wrong = fooled and cut and run.end - run.start < WHOLE_WORD * rate
            yield self._vocabulary[(run.level - 1 + wrong) % len(self._vocabulary)]

    def _continued(self, window: Window) -> Hypothesis:
        rate, edge = window.sample_rate, window.left + window.new
        levels = self._levels(window.audio)
        before = window.carry if isinstance(window.carry, _Carry) else None
        words, after = _read(levels[window.left : edge], window.left, before, rate)
        ahead, _ = _read(levels[edge:], edge, after, rate)
        return Hypothesis(self._tokens(words, rate), self._tokens(ahead, rate), after)

    def _tokens(self, words: Iterable[_Run], rate: int) -> tuple[Token, ...]:
        return tuple(
            Token(
                " " + self._vocabulary[run.level - 1],
                start=max(0, run.start) / rate,
                duration=(run.end - max(0, run.start)) / rate,
                confidence=1.0,
            )
            for run in words
        )

    def _levels(self, audio: NDArray[np.float32]) -> NDArray[np.intp]:
        levels = np.rint(np.abs(audio) * STEPS).astype(np.intp)
        return np.where(levels <= len(self._vocabulary), levels, 0)


class PlateauVoice:
    """The voice activity that goes with ``Scripted``: a frame that is not silent is speech."""

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
class _Run:
    """Samples ``start`` to ``end`` (from the window's first; may be negative) of one amplitude."""

    level: int
    start: int
    end: int

    def moved(self, samples: int) -> _Run:
        return _Run(self.level, self.start + samples, self.end + samples)


@dataclass(frozen=True, slots=True)
class _Carry:
    """Where a reading stopped; positions count from there, so they are 0 or negative.

    ``heard`` is the last run that was long enough. ``tail`` is the run that touches the edge: it may go
    on, so it is looked at again together with what follows.
    """

    heard: _Run
    tail: _Run


_START = _Carry(_Run(0, 0, 0), _Run(0, 0, 0))


def _read(
    levels: NDArray[np.intp], position: int, carry: _Carry | None, rate: int
) -> tuple[list[_Run], _Carry]:
    """Return the words first heard in ``levels``, which begin at ``position``, and where it stopped."""
    carry = carry or _START
    tail, runs = carry.tail.moved(position), [carry.heard.moved(position)]
    for run in _runs(levels, position):
        tail = _Run(run.level, tail.start if run.level == tail.level else run.start, run.end)
        if tail.end - tail.start < SHORTEST_RUN * rate:
            continue
        if tail.level == runs[-1].level:
            runs[-1] = _Run(tail.level, runs[-1].start, tail.end)
        else:
            runs.append(tail)
    edge = position + levels.size
    return [run for run in runs[1:] if run.level], _Carry(runs[-1].moved(-edge), tail.moved(-edge))


def _runs(levels: NDArray[np.intp], position: int) -> Iterator[_Run]:
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), levels.size]
    for start, end in pairwise(edges):
        if end > start:
            yield _Run(int(levels[start]), position + start, position + end)


def _nothing() -> None:
    pass
