"""The reading of engines without state: one window a segment, its overlap told apart afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echoic.session.decoding.strategy import Answer, Cut, Piece, Spoken, words_of
from echoic.text.overlap import repeated

#: Start and end in seconds on the session's clock.
_Time = tuple[float, float]
#: Decodes of one stream that may run side by side; more would only hold more windows in memory.
_AHEAD = 4
#: Words kept to compare the next window with; no overlap can hold more.
_TAIL = 256


class PlainReading:
    """Decodes each segment's window whole.

    Where the engine gives times, a word belongs to the window whose share of the timeline it starts
    in; two windows share their overlap half and half, so that a word cut by an edge is taken from the
    window that holds it whole. Where it gives none, the overlap is found by comparing the words.

    Args:
        rate: Samples per second of the tape.
        seconds: Turns a position on the tape into seconds on the session's clock.
        speech: Whether there is speech between two positions, or None to decode everything.
        timed: Whether the engine gives times.
    """

    carry = None
    repeats = False
    ahead = _AHEAD

    def __init__(
        self,
        rate: int,
        seconds: Callable[[int], float],
        speech: Callable[[int, int], bool] | None,
        *,
        timed: bool,
    ) -> None:
        self._timed = timed
        self._rate = rate
        self._seconds = seconds
        self._speech = speech
        self._shared_until = 0
        self._said: list[str] = []
        self._last: _Time = (0.0, 0.0)
        self.needs_from = 0

    @property
    def holds(self) -> bool:
        """Whether the last window's share ended before the window did."""
        return self._shared_until < self.needs_from

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the segment's window, unless nobody spoke since the last one's share ended."""
        until = cut.end - (cut.shared // 2 if self._timed and not cut.flush else 0)
        pieces = self._window(cut, until)
        self._shared_until = until
        self.needs_from = cut.end
        return pieces

    def look(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the window from the overlap's start to what is heard."""
        return self._window(cut, cut.end)

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:  # the plan knows it
        """Return the window's words less those that were said with the window before."""
        words, self._last = self._new(answers)
        self._said = [*self._said, *(w.word for w in words)][-_TAIL:] if words else []
        return words

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the window's words less those already said."""
        return self._new(answers)[0]

    def _window(self, cut: Cut, until: int) -> tuple[Piece, ...]:
        new = self._shared_until if self._timed else cut.start
        if self._speech and not self._speech(new, cut.end):
            return ()
        return (Piece(cut.context, new, max(new, until), cut.end, last=cut.flush),)

    def _new(self, answers: Sequence[Answer]) -> tuple[list[Spoken], _Time]:
        """Return the words that are new, and the time of the last word said by then."""
        heard = [(a.piece, _all_words(a)) for a in answers if a.hypothesis is not None]
        if not heard:
            return [], self._last
        piece, words = heard[0]
        if self._timed:
            return self._in_share(words, self._seconds(piece.new), self._seconds(piece.right))
        count = repeated(self._said, [w.word for w in words], (piece.new - piece.start) / self._rate)
        return words[count:], self._last

    def _in_share(self, words: Sequence[Spoken], new: float, until: float) -> tuple[list[Spoken], _Time]:
        """Return the words that start in a share, and the time of the last word.

        What overlaps the last word said is that word again, or the rest of it: its times differ a
        little from one decode to the next, an edge may have cut its end, and its start may lie before
        this window.
        """
        found: list[Spoken] = []
        last = self._last
        for word in words:
            start, end = word.start or 0.0, word.end or 0.0
            common = last[1] - max(start, last[0])
            if common > 0 and (start < new or 2 * common >= min(end - start, last[1] - last[0])):
                last = (last[0], max(last[1], end))
            elif start < until:
                found.append(word)
                last = (start, end)
        return found, last


def _all_words(answer: Answer) -> list[Spoken]:
    hypothesis = answer.hypothesis
    return (
        [] if hypothesis is None else words_of((*hypothesis.committed, *hypothesis.volatile), answer.begins)
    )
