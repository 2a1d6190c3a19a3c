"""The reading of engines without state that a cut word poisons: windows grow from the last pause.

At each due point an utterance that is over is decoded whole, and the one that goes on is decoded up to
now and up to a second ago; the words on which the two agree are said. docs/decisions/0005. An engine whose
windows cost the same however short they are is asked at every ``step`` of the utterance only, by finals and
partials alike, and the decode of the due point before takes the place of the second. docs/decisions/0010.
"""

from __future__ import annotations

from collections.abc import Sequence

from echoic.audio.vad import Ear
from echoic.interfaces.engine import Hypothesis
from echoic.session.decoding.strategy import Answer, Cut, Piece, Spoken, end_of, in_order, spread, words_of
from echoic.text.local_agreement import UtteranceText, Words
from echoic.units import to_samples

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
        step: Seconds between the ends of two windows of an utterance that goes on; 0: as they fall due.
        sure: Confidence below which a word is not said before its utterance is over.
    """

    carry = None
    ahead = _AHEAD
    repeats = True

    def __init__(self, ear: Ear, step: float = 0.0, sure: float = 0.0) -> None:
        self._ear = ear
        self._rate = ear.rate
        self._step = to_samples(step, ear.rate)
        self._sure = sure
        self._grown = 0
        self._texts: dict[int, UtteranceText] = {}
        self._flushed = 0
        self._said_until = 0.0
        self.holds = False

    @property
    def needs_from(self) -> int:
        """The start of the first utterance that is not yet planned to its end."""
        starts = [max(u.start, self._flushed) for u in self._ear.utterances[:1]]
        return min([*starts, self._ear.settled])

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the windows of utterances that are over, and two (by steps: one) of the one that goes on."""
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
        starts = [(max(u.start, self._flushed), u.end) for u in self._ear.utterances]
        spans = [(start, end or self._stepped(start, cut.end)) for start, end in starts]
        least = to_samples(_LEAST_GLANCE, self._rate)
        return tuple(_piece(start, end) for start, end in spans if end - start >= least)

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:
        """Return what is settled of the utterance that goes on, and the rest of those that are over."""
        said: list[Spoken] = []
        for place, answer in enumerate(answers):
            start = answer.piece.start
            if answer.hypothesis is None:
                continue
            spoken = _spoken(answer.hypothesis, answer.begins)
            words = _texts(spoken)
            text = self._texts.get(start) or UtteranceText()
            first, new = text.place(words), 0
            if answer.piece.closes:
                new = len(self._close(answer.piece, words))
            elif place == 0 or answers[place - 1].piece.start != start:
                self._texts[start] = text
                probe = text.before if self._step else _probe(answers[place + 1 :], start)
                new = len(text.grow(words, probe, self._unsure(spoken, first)))
            begins, seconds = answer.begins, (answer.piece.end - answer.piece.start) / self._rate
            said += spread(spoken, begins, begins + seconds)[first : first + new]
        self._forget(answers, flush=flush)
        said = in_order(said, self._said_until)
        self._said_until = end_of(said, self._said_until)
        return said

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the words beyond those said, utterance by utterance."""
        seen: list[str] = []
        texts = dict(self._texts)
        for answer in answers:
            if answer.hypothesis is not None:
                words = _texts(_spoken(answer.hypothesis, answer.begins))
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
        if self._step:
            end, before = self._stepped(start, end), self._grown
            self._grown = max(before, end)
            return [_piece(start, end)] if end > max(start, before) else []
        probe = end - to_samples(_PROBE, self._rate)
        if probe - start < to_samples(_LEAST_PROBE, self._rate):
            return []
        return [_piece(start, end), _piece(start, probe)]

    def _unsure(self, spoken: Sequence[Spoken], first: int) -> int:
        """Return where the first word stands, from ``first`` on, that is not sure enough to be said yet."""
        known = ((at, spoken[at].confidence) for at in range(first, len(spoken)))
        return next((at for at, one in known if one is not None and one < self._sure), len(spoken))

    def _stepped(self, start: int, end: int) -> int:
        """Return the last whole step of the utterance that is heard."""
        return end - (end - start) % self._step if self._step else end

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
        return _texts(_spoken(answers[0].hypothesis, answers[0].begins))
    return None


def _spoken(hypothesis: Hypothesis, begins: float) -> list[Spoken]:
    return words_of(hypothesis.committed + hypothesis.volatile, begins)


def _texts(spoken: Sequence[Spoken]) -> Words:
    return tuple(one.word for one in spoken)
