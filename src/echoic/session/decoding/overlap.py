"""The reading of engines without state: one window a segment, its overlap told apart afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echoic.session.decoding.strategy import SegmentBounds, TimedWord, WindowResult, WindowSpan, group_words
from echoic.text.overlap import count_repeated_words

#: Start and end in seconds on the session's clock.
_Time = tuple[float, float]
#: Decodes of one stream that may run side by side; more would only hold more windows in memory.
_MAX_AHEAD = 4
#: Words kept to compare the next window with; no overlap can hold more.
_MAX_KEPT_WORDS = 256


class OverlapStrategy:
    """Decodes each segment's window whole.

    Where the engine gives times, a word belongs to the window whose share of the timeline it starts
    in; two windows share their overlap half and half, so that a word cut by an edge is taken from the
    window that holds it whole. Where it gives none, the overlap is found by comparing the words.

    Args:
        rate: Samples per second of the tape.
        to_seconds: Turns a position on the tape into seconds on the session's clock.
        has_speech: Whether there is speech between two positions, or None to decode everything.
        has_word_times: Whether the engine gives times.
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
        self._shared_until = 0
        self._emitted: list[str] = []
        self._last_word_time: _Time = (0.0, 0.0)
        self.keep_from = 0

    @property
    def holds_words(self) -> bool:
        """Whether the last window's share ended before the window did."""
        return self._shared_until < self.keep_from

    def plan_windows(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the segment's window, unless nobody spoke since the last one's share ended."""
        until = cut.end - (cut.shared // 2 if self._has_word_times and not cut.is_flush else 0)
        pieces = self._plan_window(cut, until)
        self._shared_until = until
        self.keep_from = cut.end
        return pieces

    def plan_preview(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window from the overlap's start to what is heard."""
        return self._plan_window(cut, cut.end)

    def emit_words(
        self,
        answers: Sequence[WindowResult],
        *,
        flush: bool,  # noqa: ARG002  # the plan knows it
    ) -> list[TimedWord]:  # the plan knows it
        """Return the window's words less those that were said with the window before."""
        words, self._last_word_time = self._find_new_words(answers)
        self._emitted = [*self._emitted, *(w.text for w in words)][-_MAX_KEPT_WORDS:] if words else []
        return words

    def preview_words(self, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the window's words less those already said."""
        return self._find_new_words(answers)[0]

    def _plan_window(self, cut: SegmentBounds, until: int) -> tuple[WindowSpan, ...]:
        new = self._shared_until if self._has_word_times else cut.start
        if self._has_speech and not self._has_speech(new, cut.end):
            return ()
        return (WindowSpan(cut.context, new, max(new, until), cut.end, is_last=cut.is_flush),)

    def _find_new_words(self, answers: Sequence[WindowResult]) -> tuple[list[TimedWord], _Time]:
        """Return the words that are new, and the time of the last word said by then."""
        heard = [(a.span, _result_words(a)) for a in answers if a.hypothesis is not None]
        if not heard:
            return [], self._last_word_time
        piece, words = heard[0]
        if self._has_word_times:
            return self._words_in_share(
                words, self._to_seconds(piece.new_start), self._to_seconds(piece.new_end)
            )
        count = count_repeated_words(
            self._emitted, [w.text for w in words], (piece.new_start - piece.start) / self._rate
        )
        return words[count:], self._last_word_time

    def _words_in_share(
        self, words: Sequence[TimedWord], new: float, until: float
    ) -> tuple[list[TimedWord], _Time]:
        """Return the words that start in a share, and the time of the last word.

        What overlaps the last word said is that word again, or the rest of it: its times differ a
        little from one decode to the next, an edge may have cut its end, and its start may lie before
        this window.
        """
        found: list[TimedWord] = []
        last = self._last_word_time
        for word in words:
            start, end = word.start or 0.0, word.end or 0.0
            common = last[1] - max(start, last[0])
            if common > 0 and (start < new or 2 * common >= min(end - start, last[1] - last[0])):
                last = (last[0], max(last[1], end))
            elif start < until:
                found.append(word)
                last = (start, end)
        return found, last


def _result_words(answer: WindowResult) -> list[TimedWord]:
    hypothesis = answer.hypothesis
    return (
        []
        if hypothesis is None
        else group_words((*hypothesis.committed, *hypothesis.volatile), answer.start_seconds)
    )
