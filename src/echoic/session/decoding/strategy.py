"""How an engine's windows are cut and its answers read: what the readings have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, zip_longest
from typing import Protocol

from echoic.interfaces.engine import Hypothesis, Token


@dataclass(frozen=True, slots=True)
class SegmentBounds:
    """The audio that a segment speaks for, in samples of the tape.

    Attributes:
        context: Where the segment's window begins.
        start: End of the window before.
        end: End of this one: all that is heard.
        shared: Samples before ``end`` that the next window's overlap will cover.
        is_flush: Nothing follows soon: everything heard is to be said.
    """

    context: int
    start: int
    end: int
    shared: int
    is_flush: bool


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """A window to be cut from the tape: ``start ≤ new ≤ right ≤ end``, in samples of the tape.

    Attributes:
        start: First sample, context included.
        new_start: First sample that is new.
        new_end: First sample of the context after it.
        end: The sample after its last.
        is_last: Everything in it is to be committed.
        closes_utterance: The utterance it holds is over.
        is_vital: Words are lost if it cannot be decoded; otherwise a later window brings them.
    """

    start: int
    new_start: int
    new_end: int
    end: int
    is_last: bool = False
    closes_utterance: bool = False
    is_vital: bool = True


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word that may be said: its text, and its place in seconds on the session's clock if known.

    Attributes:
        text: Its text.
        start: Where it begins, or None.
        end: And ends.
        confidence: 0..1, or None.
        rough_span: Where a word without times begins and ends, roughly, by its place in the text of its window.
    """

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    rough_span: tuple[float, float] | None = None

    @property
    def middle(self) -> float | None:
        """Where its middle is, as well as is known."""
        place = self.span
        return None if place is None else (place[0] + place[1]) / 2

    @property
    def span(self) -> tuple[float, float] | None:
        """Where it begins and ends, as well as is known."""
        return self.rough_span if self.start is None or self.end is None else (self.start, self.end)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What came back for a piece: the hypothesis (None if it failed) and the second it begins at."""

    span: WindowSpan
    start_seconds: float
    hypothesis: Hypothesis | None


class DecodingStrategy(Protocol):
    """One stretch of audio through one engine: plans windows, and turns answers into words.

    ``plan_windows`` and ``emit_words`` are called for each segment in order and move on; ``plan_preview`` and ``preview_words``
    are their counterparts for partials and change nothing. Several segments may be planned before
    the first is said, if ``max_ahead`` allows it. Plans depend on the audio alone.
    """

    @property
    def repeats_windows(self) -> bool:
        """Whether it may ask for a window twice: its hypothesis is then kept for a while."""

    @property
    def max_ahead(self) -> int:
        """How many decodes of this stretch may run at the same time."""

    @property
    def state(self) -> object:
        """The decoder's state for the next window."""

    @property
    def holds_words(self) -> bool:
        """Whether words of audio already planned may still be unsaid."""

    @property
    def keep_from(self) -> int:
        """The first sample that a later plan may still ask for."""

    def plan_windows(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the windows that this segment's words are in; none if nobody spoke."""

    def plan_preview(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the windows for a partial at this point."""

    def emit_words(self, answers: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return the words that are new with this segment."""

    def preview_words(self, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words heard beyond what was said, settled or not."""


def group_words(tokens: Sequence[Token], begins: float) -> list[TimedWord]:
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
    spoken = (_build_word(pieces, begins) for pieces in words)
    return [word for word in spoken if word.text]


def order_words(words: Sequence[TimedWord], until: float) -> list[TimedWord]:
    """Return words of which none begins before the one before it ends, nor before ``until``.

    Two decodes do not time a word alike, and a decoder may say two in one frame: a word ends where the next
    begins, and begins where the last one said ended. Words without times stay as they are.
    """
    placed: list[TimedWord] = []
    for word, after in zip_longest(words, words[1:]):
        if word.start is None or word.end is None:
            placed.append(word)
            continue
        start = max(word.start, until)
        most = word.end if after is None or after.start is None else min(word.end, after.start)
        until = max(start, most)
        placed.append(replace(word, start=start, end=until))
    return placed


def find_last_end(words: Sequence[TimedWord], until: float) -> float:
    """Return where the last word with times ends; ``until`` if there is none."""
    return next((word.end for word in reversed(words) if word.end is not None), until)


def _build_word(pieces: Sequence[Token], begins: float) -> TimedWord:
    first, final = pieces[0], pieces[-1]
    start = None if first.start is None else begins + first.start
    end = None if final.start is None else begins + final.start + (final.duration or 0.0)
    known = [p.confidence for p in pieces if p.confidence is not None]
    return TimedWord("".join(p.text for p in pieces).strip(), start, end, min(known) if known else None)


def spread_words(words: Sequence[TimedWord], start: float, end: float) -> list[TimedWord]:
    """Return words of a window, those without times placed in it by their letters.

    Args:
        words: All that the window holds.
        start: Seconds at which it begins.
        end: And ends.
    """
    edges = list(accumulate((len(word.text) + 1 for word in words), initial=0))
    places = [start + (end - start) * edge / (edges[-1] or 1) for edge in edges]
    return [replace(word, rough_span=about) for word, about in zip(words, pairwise(places), strict=True)]
