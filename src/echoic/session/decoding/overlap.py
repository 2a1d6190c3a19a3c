"""Decoding strategy for other engines without state: one window per segment, with overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echoic.session.decoding.strategy import SegmentBounds, TimedWord, WindowResult, WindowSpan, group_words
from echoic.text.repeated_words import count_repeated_words

#: Start and end in seconds on the session's clock.
_Time = tuple[float, float]
#: Maximum number of concurrent decodes; more would only keep more windows in memory.
_MAX_AHEAD = 4
#: Words kept for comparison with the next window; no overlap contains more.
_MAX_KEPT_WORDS = 256


class OverlapStrategy:
    """Decodes each segment in one window and removes the words that the window before contained.

    With word times, each window owns a share of the timeline, and a word belongs to the window in whose share
    it starts. Two windows divide their overlap in half, so that a word cut off by the edge of one window is
    taken from the other. Without word times, repeated words are found by comparing texts.

    Args:
        rate: Samples per second of the buffer.
        to_seconds: Converts a position in the buffer to seconds on the session's clock.
        has_speech: Returns whether there is speech between two positions. If None, everything is decoded.
        has_word_times: Whether the engine provides word times.
    """

    state = None
    repeats_windows = False
    max_ahead = _MAX_AHEAD

    def __init__(
        self,
        rate: int,
        to_seconds: Callable[[int], float],
        has_speech: Callable[[int, int], bool] | None,
        *,
        has_word_times: bool,
    ) -> None:
        self._has_word_times = has_word_times
        self._rate = rate
        self._to_seconds = to_seconds
        self._has_speech = has_speech
        self._owned_until = 0  # end of the part of the timeline whose words are already decided
        self._emitted: list[str] = []
        self._last_word_time: _Time = (0.0, 0.0)
        self.keep_from = 0

    @property
    def holds_words(self) -> bool:
        """Whether words are held back: the last window's part of the timeline ends before the window."""
        return self._owned_until < self.keep_from

    def plan_windows(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the segment's window, or nothing if there is no speech after the last window's part."""
        until = bounds.end - (
            bounds.overlap_samples // 2 if self._has_word_times and not bounds.is_flush else 0
        )
        spans = self._plan_window(bounds, until)
        self._owned_until = until
        self.keep_from = bounds.end
        return spans

    def plan_preview(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window from the start of the overlap to the end of the audio."""
        return self._plan_window(bounds, bounds.end)

    def emit_words(
        self,
        results: Sequence[WindowResult],
        *,
        flush: bool,  # noqa: ARG002  # the plan depends on it, not the words
    ) -> list[TimedWord]:
        """Return the words of the window without those of the window before."""
        words, self._last_word_time = self._find_new_words(results)
        self._emitted = [*self._emitted, *(w.text for w in words)][-_MAX_KEPT_WORDS:] if words else []
        return words

    def preview_words(self, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words of the window without those already emitted."""
        return self._find_new_words(results)[0]

    def _plan_window(self, bounds: SegmentBounds, until: int) -> tuple[WindowSpan, ...]:
        new = self._owned_until if self._has_word_times else bounds.start
        if self._has_speech and not self._has_speech(new, bounds.end):
            return ()
        return (WindowSpan(bounds.context, new, max(new, until), bounds.end, is_last=bounds.is_flush),)

    def _find_new_words(self, results: Sequence[WindowResult]) -> tuple[list[TimedWord], _Time]:
        """Return the new words, and the time of the last word emitted with them."""
        decoded = [(a.span, _result_words(a)) for a in results if a.hypothesis is not None]
        if not decoded:
            return [], self._last_word_time
        span, words = decoded[0]
        if self._has_word_times:
            return self._words_in_share(
                words, self._to_seconds(span.new_start), self._to_seconds(span.new_end)
            )
        count = count_repeated_words(
            self._emitted, [w.text for w in words], (span.new_start - span.start) / self._rate
        )
        return words[count:], self._last_word_time

    def _words_in_share(
        self, words: Sequence[TimedWord], share_start: float, share_end: float
    ) -> tuple[list[TimedWord], _Time]:
        """Return the words that start in a share of the timeline, and the time of the last word.

        A word that overlaps the last emitted word is the same word or its rest: times differ slightly between
        decodes, and the edge of a window may cut off the end or the start of a word.
        """
        found: list[TimedWord] = []
        last = self._last_word_time
        for word in words:
            start, end = word.start or 0.0, word.end or 0.0
            common = last[1] - max(start, last[0])
            if common > 0 and (start < share_start or 2 * common >= min(end - start, last[1] - last[0])):
                last = (last[0], max(last[1], end))
            elif start < share_end:
                found.append(word)
                last = (start, end)
        return found, last


def _result_words(result: WindowResult) -> list[TimedWord]:
    hypothesis = result.hypothesis
    return (
        []
        if hypothesis is None
        else group_words((*hypothesis.committed, *hypothesis.volatile), result.start_seconds)
    )
