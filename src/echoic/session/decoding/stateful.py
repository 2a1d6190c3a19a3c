"""The reading of engines that carry their decoder's state on: no text is ever merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from echoic.interfaces.engine import Token, WindowNeeds
from echoic.session.decoding.strategy import Answer, Cut, Piece, Spoken, end_of, in_order, words_of
from echoic.units import to_samples

#: Seconds after a word's last piece from which on no further piece of it is expected.
_WORD_GAP = 0.4
#: Seconds between the beginnings of one word heard on both sides of a flush; one said twice takes longer.
_SAME_WORD = 0.25
#: The most seconds of left context for a partial, which is decoded often and shown for a moment.
_GLIMPSE_LEFT = 1.0
#: Seconds of silence after which nothing more is waited for: what was said is complete.
_SILENCE = 0.5
#: Seconds before the present that a skipped window leaves to be decoded with the next one, since
#: the gate hears the beginning of a word a little late.
_ONSET = 0.3


class CarriedReading:
    """Decodes new audio only, from where the decoder stood; holds back a word cut by the edge.

    Args:
        needs: The engine's wishes: contexts in seconds.
        rate: Samples per second of the tape.
        seconds: Turns a position on the tape into seconds on the session's clock.
        speech: Whether there is speech between two positions, or None to decode everything.
    """

    repeats = False
    ahead = 1

    def __init__(
        self,
        needs: WindowNeeds,
        rate: int,
        seconds: Callable[[int], float],
        speech: Callable[[int, int], bool] | None,
    ) -> None:
        self._left = to_samples(needs.left_context, rate)
        self._right = to_samples(needs.right_context, rate)
        self._onset = to_samples(_ONSET, rate)
        self._silence = to_samples(_SILENCE, rate)
        self._glimpse_left = to_samples(_GLIMPSE_LEFT, rate)
        self._seconds = seconds
        self._speech = speech
        self._walked = 0
        self._open = False
        self._decoded_until = 0.0
        self._said_until = 0.0
        self._held: list[Token] = []
        self._flushed: Spoken | None = None
        self.carry: object = None

    @property
    def holds(self) -> bool:
        """Whether anything was planned since the last flush."""
        return self._open

    @property
    def needs_from(self) -> int:
        """The left context of what is not yet decoded."""
        return self._walked - self._left

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the window of what is not yet decoded, up to the right context."""
        self._open = not cut.flush
        if not self._is_spoken(cut):
            self._walked = max(self._walked, cut.end - self._right - self._onset)
            return ()
        right = max(self._walked, self._settled(cut))
        if right == self._walked:
            return ()
        piece = Piece(self._walked - self._left, self._walked, right, cut.end, last=cut.flush)
        self._walked = right
        return (piece,)

    def look(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the window of all that is not yet decoded, with little left context."""
        if not self._is_spoken(cut):
            return ()
        left = min(self._left, self._glimpse_left)
        return (Piece(self._walked - left, self._walked, max(self._walked, self._settled(cut)), cut.end),)

    def _is_spoken(self, cut: Cut) -> bool:
        """Return whether there is speech in what is not yet decoded, or shortly before.

        A word's last sound may be told after the speech is over, and an engine may leave the frame that a
        window ends in to the next one.
        """
        if self._walked >= cut.end:
            return False
        return self._speech is None or self._speech(self._walked - self._silence, cut.end)

    def _settled(self, cut: Cut) -> int:
        """Return up to where a window that ends here may be committed."""
        if cut.flush:
            return cut.end
        if self._speech and not self._speech(cut.end - self._silence, cut.end):
            return cut.end - min(self._onset, self._right)
        return cut.end - self._right

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:
        """Return the words that are whole, those held back before them first."""
        for answer in answers:
            if answer.hypothesis is not None:
                self._held += _placed(answer.hypothesis.committed, answer.begins)
                self.carry = answer.hypothesis.carry
                self._decoded_until = self._seconds(answer.piece.right)
        whole = len(self._held) if flush or not answers else self._whole()
        words = self._after_flush(words_of(self._held[:whole], 0.0))
        self._held = self._held[whole:]
        if words or flush:
            self._flushed = words[-1] if words and flush else None
        placed = in_order(words, self._said_until)
        self._said_until = end_of(placed, self._said_until)
        return placed

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return what is held, what this window commits and what it only suspects."""
        tokens = list(self._held)
        for answer in answers:
            if answer.hypothesis is not None:
                tokens += _placed(answer.hypothesis.committed, answer.begins)
                tokens += _placed(answer.hypothesis.volatile, answer.begins)
        return self._after_flush(words_of(tokens, 0.0))

    def _after_flush(self, words: list[Spoken]) -> list[Spoken]:
        """Return words without the first, if a flush in its midst had it said already."""
        if words and self._flushed and _is_same(self._flushed, words[0]):
            return words[1:]
        return words

    def _whole(self) -> int:
        """How many held tokens make whole words: all, or all but those of the last word."""
        if not self._held:
            return 0
        last = self._held[-1]
        if last.start is not None and last.start + (last.duration or 0.0) + _WORD_GAP <= self._decoded_until:
            return len(self._held)
        starts = [i for i, token in enumerate(self._held) if token.text.startswith(" ")]
        return starts[-1] if starts else 0


def _is_same(before: Spoken, after: Spoken) -> bool:
    """Return whether two words are one that was cut: spelled alike, and begun nearly at once."""
    if before.start is None or after.start is None or after.start - before.start > _SAME_WORD:
        return False
    return _bare(before.word) == _bare(after.word)


def _bare(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _placed(tokens: Sequence[Token], begins: float) -> list[Token]:
    return [t if t.start is None else replace(t, start=t.start + begins) for t in tokens]
