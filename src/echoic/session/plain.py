"""The reading of engines without state: one window a segment, its overlap told apart afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.session.reading import Answer, Cut, Piece, Spoken, words_of
from echoic.text.stitch import repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        self._shared = 0
        self._said: list[str] = []
        self._said_until = 0.0
        self.needs_from = 0

    @property
    def holds(self) -> bool:
        """Whether the last window's share ended before the window did."""
        return self._timed and self._shared > 0

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the segment's window, unless nobody spoke since the last one's share ended."""
        pieces = self.look(cut)
        self._shared = 0 if cut.flush else (cut.start - cut.context) // 2
        self.needs_from = cut.end
        return pieces

    def look(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the window from the overlap's start to what is heard."""
        if self._speech and not self._speech(cut.start - self._shared, cut.end):
            return ()
        return (Piece(cut.context, cut.start, cut.end, cut.end, last=cut.flush),)

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:
        """Return the window's words less those that were said with the window before."""
        words, until = self._new(answers, flush=flush)
        self._said = [*self._said, *(w.word for w in words)][-_TAIL:] if words else []
        self._said_until = until
        return words

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the window's words less those already said."""
        return self._new(answers, flush=True)[0]

    def _new(self, answers: Sequence[Answer], *, flush: bool) -> tuple[list[Spoken], float]:
        heard = [(a, _all_words(a)) for a in answers if a.hypothesis is not None]
        if not heard:
            return [], self._said_until
        answer, words = heard[0]
        piece = answer.piece
        end = self._seconds(piece.end)
        if self._timed:
            share = 0.0 if flush else (piece.new - piece.start) / self._rate / 2
            until = end - share
            return [
                w for w in words if self._said_until <= (w.start or 0.0) < (end if flush else until)
            ], until
        count = repeated(self._said, [w.word for w in words], (piece.new - piece.start) / self._rate)
        return words[count:], end


def _all_words(answer: Answer) -> list[Spoken]:
    hypothesis = answer.hypothesis
    return (
        [] if hypothesis is None else words_of((*hypothesis.committed, *hypothesis.volatile), answer.begins)
    )
