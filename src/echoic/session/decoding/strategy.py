"""How an engine's windows are cut and its answers read: what the readings have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, zip_longest
from typing import Protocol

from echoic.interfaces.engine import Hypothesis, Token


@dataclass(frozen=True, slots=True)
class Cut:
    """The audio that a segment speaks for, in samples of the tape.

    Attributes:
        context: Where the segment's window begins.
        start: End of the window before.
        end: End of this one: all that is heard.
        shared: Samples before ``end`` that the next window's overlap will cover.
        flush: Nothing follows soon: everything heard is to be said.
    """

    context: int
    start: int
    end: int
    shared: int
    flush: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A window to be cut from the tape: ``start ≤ new ≤ right ≤ end``, in samples of the tape.

    Attributes:
        start: First sample, context included.
        new: First sample that is new.
        right: First sample of the context after it.
        end: The sample after its last.
        last: Everything in it is to be committed.
        closes: The utterance it holds is over.
        vital: Words are lost if it cannot be decoded; otherwise a later window brings them.
    """

    start: int
    new: int
    right: int
    end: int
    last: bool = False
    closes: bool = False
    vital: bool = True


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word that may be said: its text, and its place in seconds on the session's clock if known.

    Attributes:
        word: Its text.
        start: Where it begins, or None.
        end: And ends.
        confidence: 0..1, or None.
        about: Where a word without times begins and ends, roughly, by its place in the text of its window.
    """

    word: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    about: tuple[float, float] | None = None

    @property
    def middle(self) -> float | None:
        """Where its middle is, as well as is known."""
        place = self.place
        return None if place is None else (place[0] + place[1]) / 2

    @property
    def place(self) -> tuple[float, float] | None:
        """Where it begins and ends, as well as is known."""
        return self.about if self.start is None or self.end is None else (self.start, self.end)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a piece: the hypothesis (None if it failed) and the second it begins at."""

    piece: Piece
    begins: float
    hypothesis: Hypothesis | None


class Reading(Protocol):
    """One stretch of audio through one engine: plans windows, and turns answers into words.

    ``plan`` and ``say`` are called for each segment in order and move on; ``look`` and ``glimpse``
    are their counterparts for partials and change nothing. Several segments may be planned before
    the first is said, if ``ahead`` allows it. Plans depend on the audio alone.
    """

    @property
    def repeats(self) -> bool:
        """Whether it may ask for a window twice: its hypothesis is then kept for a while."""

    @property
    def ahead(self) -> int:
        """How many decodes of this stretch may run at the same time."""

    @property
    def carry(self) -> object:
        """The decoder's state for the next window."""

    @property
    def holds(self) -> bool:
        """Whether words of audio already planned may still be unsaid."""

    @property
    def needs_from(self) -> int:
        """The first sample that a later plan may still ask for."""

    def plan(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the windows that this segment's words are in; none if nobody spoke."""

    def look(self, cut: Cut) -> tuple[Piece, ...]:
        """Return the windows for a partial at this point."""

    def say(self, answers: Sequence[Answer], *, flush: bool) -> list[Spoken]:
        """Return the words that are new with this segment."""

    def glimpse(self, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the words heard beyond what was said, settled or not."""


def words_of(tokens: Sequence[Token], begins: float) -> list[Spoken]:
    """Return tokens grouped into words, their times moved from the window to the session's clock.

    Args:
        tokens: In order; a leading space starts a word, and so does the first.
        begins: Seconds on the session's clock of the window's first sample.
    """
    words: list[list[Token]] = []
    for token in tokens:
        if token.text.startswith(" ") or not words:
            words.append([token])
        else:
            words[-1].append(token)
    spoken = (_word(pieces, begins) for pieces in words)
    return [word for word in spoken if word.word]


def in_order(words: Sequence[Spoken], until: float) -> list[Spoken]:
    """Return words of which none begins before the one before it ends, nor before ``until``.

    Two decodes do not time a word alike, and a decoder may say two in one frame: a word ends where the next
    begins, and begins where the last one said ended. Words without times stay as they are.
    """
    placed: list[Spoken] = []
    for word, after in zip_longest(words, words[1:]):
        if word.start is None or word.end is None:
            placed.append(word)
            continue
        start = max(word.start, until)
        most = word.end if after is None or after.start is None else min(word.end, after.start)
        until = max(start, most)
        placed.append(replace(word, start=start, end=until))
    return placed


def end_of(words: Sequence[Spoken], until: float) -> float:
    """Return where the last word with times ends; ``until`` if there is none."""
    return next((word.end for word in reversed(words) if word.end is not None), until)


def _word(pieces: Sequence[Token], begins: float) -> Spoken:
    first, final = pieces[0], pieces[-1]
    start = None if first.start is None else begins + first.start
    end = None if final.start is None else begins + final.start + (final.duration or 0.0)
    known = [p.confidence for p in pieces if p.confidence is not None]
    return Spoken("".join(p.text for p in pieces).strip(), start, end, min(known) if known else None)


def spread(words: Sequence[Spoken], start: float, end: float) -> list[Spoken]:
    """Return words of a window, those without times placed in it by their letters.

    Args:
        words: All that the window holds.
        start: Seconds at which it begins.
        end: And ends.
    """
    edges = list(accumulate((len(word.word) + 1 for word in words), initial=0))
    places = [start + (end - start) * edge / (edges[-1] or 1) for edge in edges]
    return [replace(word, about=about) for word, about in zip(words, pairwise(places), strict=True)]
