"""Interface of decoding strategies, and functions that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, zip_longest
from typing import Protocol

from echoic.interfaces.engine import Hypothesis, Token


@dataclass(frozen=True, slots=True)
class SegmentBounds:
    """The audio of a segment, in positions of the buffer."""

    context: int
    """Start of the segment's window: ``start`` minus the overlap."""
    start: int
    """End of the segment before."""
    end: int
    """End of the segment: the latest sample."""
    overlap_samples: int
    """Samples before ``end`` that the overlap of the next window will repeat."""
    is_flush: bool
    """Whether the audio ends here for now: emit all words."""


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """Position of a window in the buffer: ``start ≤ new_start ≤ new_end ≤ end``."""

    start: int
    """First sample, including left context."""
    new_start: int
    """First new sample."""
    new_end: int
    """First sample of the right context."""
    end: int
    """Position after the last sample."""
    is_last: bool = False
    """Whether the engine must commit all tokens."""
    closes_utterance: bool = False
    """Whether the window contains a whole, closed utterance."""
    is_only_source: bool = True
    """Whether no later window contains its words, so that they are lost if the decode fails."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word, with times in seconds on the session's clock if known."""

    text: str
    start: float | None = None
    """Start in seconds, or None."""
    end: float | None = None
    """End in seconds, or None."""
    confidence: float | None = None
    """0..1, or None."""
    rough_span: tuple[float, float] | None = None
    """Estimated start and end of a word without times, from its position in the text of its window."""

    @property
    def middle(self) -> float | None:
        """Middle of the word in seconds, estimated if its times are unknown, or None without an estimate."""
        span = self.span
        return None if span is None else (span[0] + span[1]) / 2

    @property
    def span(self) -> tuple[float, float] | None:
        """Start and end in seconds, estimated if its times are unknown, or None without an estimate."""
        return self.rough_span if self.start is None or self.end is None else (self.start, self.end)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The result of decoding a window."""

    span: WindowSpan
    """Position of the window in the buffer."""
    start_seconds: float
    """Seconds on the session's clock of the first decoded sample."""
    hypothesis: Hypothesis | None
    """The hypothesis, or None if the decode failed."""


class DecodingStrategy(Protocol):
    """Plans the windows of one engine for one pipeline, and turns their results into words.

    ``plan_windows`` and ``emit_words`` are called once per segment, in order, and advance the strategy.
    ``plan_preview`` and ``preview_words`` are their counterparts for partials and change nothing. Several
    segments may be planned before the words of the first are emitted. Plans depend only on the audio.
    """

    @property
    def repeats_windows(self) -> bool:
        """Whether the same window may be planned twice, so that hypotheses are worth caching."""

    @property
    def max_ahead(self) -> int:
        """Maximum number of concurrent decodes."""

    @property
    def state(self) -> object:
        """Decoder state for the next window."""

    @property
    def holds_words(self) -> bool:
        """Whether words of planned audio may not have been emitted yet."""

    @property
    def keep_from(self) -> int:
        """Position of the first sample that a later window may need."""

    def plan_windows(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the windows that contain the segment's words; none without speech."""

    def plan_preview(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the windows for a partial of the open segment."""

    def emit_words(self, results: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return the new words of the next segment, from the results of its windows."""

    def preview_words(self, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words after the last emitted word, from the results of a partial's windows."""


def group_words(tokens: Sequence[Token], offset: float) -> list[TimedWord]:
    """Group tokens into words and convert their times to the session's clock.

    Args:
        tokens: In order; the first token and each token with a leading space start a word.
        offset: Seconds on the session's clock of the window's first sample.
    """
    words: list[list[Token]] = []
    for token in tokens:
        if token.text.startswith(" ") or not words:
            words.append([token])
        else:
            words[-1].append(token)
    built = (_build_word(parts, offset) for parts in words)
    return [word for word in built if word.text]


def order_words(words: Sequence[TimedWord], until: float) -> list[TimedWord]:
    """Adjust times so that words do not overlap and none starts before ``until``.

    Two decodes differ in the times of a word, and a decoder may emit two words in one frame. A word ends at
    the latest where the next one starts. Words without times are unchanged.
    """
    ordered: list[TimedWord] = []
    for word, following in zip_longest(words, words[1:]):
        if word.start is None or word.end is None:
            ordered.append(word)
            continue
        start = max(word.start, until)
        end = word.end if following is None or following.start is None else min(word.end, following.start)
        until = max(start, end)
        ordered.append(replace(word, start=start, end=until))
    return ordered


def find_last_end(words: Sequence[TimedWord], until: float) -> float:
    """Return the end of the last word with times, or ``until`` without any."""
    return next((word.end for word in reversed(words) if word.end is not None), until)


def _build_word(tokens: Sequence[Token], offset: float) -> TimedWord:
    first, last = tokens[0], tokens[-1]
    start = None if first.start is None else offset + first.start
    end = None if last.start is None else offset + last.start + (last.duration or 0.0)
    known = [token.confidence for token in tokens if token.confidence is not None]
    text = "".join(token.text for token in tokens).strip()
    return TimedWord(text, start, end, min(known) if known else None)


def spread_words(words: Sequence[TimedWord], start: float, end: float) -> list[TimedWord]:
    """Estimate the times of words from their position in the text of a window.

    Args:
        words: All words of the window.
        start: Start of the window in seconds.
        end: End of the window in seconds.

    Returns:
        The words with ``rough_span``.
    """
    edges = list(accumulate((len(word.text) + 1 for word in words), initial=0))
    times = [start + (end - start) * edge / (edges[-1] or 1) for edge in edges]
    return [replace(word, rough_span=span) for word, span in zip(words, pairwise(times), strict=True)]
