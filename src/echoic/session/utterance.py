"""The reading of engines without state that a cut word poisons: windows grow from the last pause.

At each due point an utterance that is over is decoded whole, and the one that goes on is decoded up to
now and up to a second ago; the words on which the two agree are said. docs/decisions/0005.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.session.reading import Answer, Cut, Piece, Spoken
from echoic.text.agreement import UtteranceText, words_of
from echoic.units import to_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.session.ear import Ear
    from echoic.text.agreement import Words

#: Decodes of one stream that may run side by side.
_AHEAD = 4
#: Seconds between the present and the moment up to which the second decode goes.
_PROBE = 1.0
#: Seconds that the second decode must have to be worth it.
_LEAST_PROBE = 0.5
#: Seconds that a partial must have to be worth it.
_LEAST_GLANCE = 0.3


class UtteranceReading:
    """Decodes utterances from their beginning; says what is settled, and the rest when they are over.

    Args:
        ear: Hears the same audio.
    """

    carry = None
    ahead = _AHEAD
    repeats = True

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._rate = ear.rate
        self._texts: dict[int, UtteranceText] = {}
        self._flushed = 0
        self.holds = False

    @property
    def needs_from(self) -> int:
        """The start of the first utterance that is not yet planned to its end."""
        starts = [max(u.start, self._flushed) for u in self._ear.utterances[:1]]
        return min([*starts, self._ear.settled])

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the windows of the utterances that are over, and two of the one that goes on."""
        if cut.flush:
            self._ear.close()
        pieces: list[Piece] = []
        for utterance in self._ear.utterances:
            start = max(utterance.start, self._flushed)
            if utterance.end is None:
                pieces += self._growing(start, cut.end)
            elif start < (end := self._end(utterance.end, cut)):
                pieces.append(_piece(start, end, closes=True))
        self._ear.forget(cut.end if cut.flush else self._closed_until())
        self._flushed = cut.end if cut.flush else self._flushed
        self.holds = not cut.flush
        return tuple(pieces)

    def look(self, cut: Cut) -> tuple[Piece, ...]:
        """Return one window an utterance."""
        spans = [(max(u.start, self._flushed), u.end or cut.end) for u in self._ear.utterances]
        least = to_samples(_LEAST_GLANCE, self._rate)
        return tuple(_piece(start, end) for start, end in spans if end - start >= least)

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:
        """Return what is settled of the utterance that goes on, and the rest of those that are over."""
        said: list[str] = []
        for place, answer in enumerate(answers):
            start = answer.piece.start
            if answer.hypothesis is None:
                continue
            words = words_of(answer.hypothesis)
            if answer.piece.closes:
                said += self._close(answer.piece, words)
            elif place == 0 or answers[place - 1].piece.start != start:
                text = self._texts.setdefault(start, UtteranceText())
                said += text.grow(words, _probe(answers[place + 1 :], start))
        self._forget(answers, flush=flush)
        return [Spoken(word) for word in said]

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the words beyond those said, utterance by utterance."""
        seen: list[str] = []
        texts = dict(self._texts)
        for answer in answers:
            if answer.hypothesis is not None:
                words = words_of(answer.hypothesis)
                text = texts.get(answer.piece.start, UtteranceText())
                seen += text.beyond(words)
                texts[answer.piece.end] = UtteranceText(text.surplus(words))
        return [Spoken(word) for word in seen]

    def _close(self, piece: Piece, words: Words) -> Words:
        """Say the rest of an utterance; what was said beyond its end begins the one that starts there.

        That happens where an utterance grew too long and was cut at a place that lies some seconds back.
        """
        text = self._texts.pop(piece.start, UtteranceText())
        rest = text.close(words)
        self._texts[piece.end] = UtteranceText(text.surplus(words))
        return rest

    def _forget(self, answers: Sequence[Answer], *, flush: bool) -> None:
        """Drop the texts that no later answer can belong to."""
        if flush:
            self._texts.clear()
        elif answers:
            latest = answers[-1].piece.start
            self._texts = {start: text for start, text in self._texts.items() if start >= latest}

    def _growing(self, start: int, end: int) -> list[Piece]:
        probe = end - to_samples(_PROBE, self._rate)
        if probe - start < to_samples(_LEAST_PROBE, self._rate):
            return []
        return [_piece(start, end), _piece(start, probe)]

    def _end(self, end: int, cut: Cut) -> int:
        """Return the end of a closed utterance: all that is heard, if the flush closed it there."""
        return cut.end if cut.flush and end >= self._ear.heard else min(end, cut.end)

    def _closed_until(self) -> int:
        return max((u.end for u in self._ear.utterances if u.end is not None), default=0)


def _piece(start: int, end: int, *, closes: bool = False) -> Piece:
    return Piece(start, start, end, end, last=closes, closes=closes, vital=closes)


def _probe(answers: Sequence[Answer], start: int) -> Words | None:
    """Return the words of the second decode of the same utterance, which follows the first."""
    if answers and answers[0].piece.start == start and answers[0].hypothesis is not None:
        return words_of(answers[0].hypothesis)
    return None
