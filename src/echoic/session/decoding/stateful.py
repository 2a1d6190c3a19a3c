"""The reading of engines that carry their decoder's state on: no text is ever merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from echoic.interfaces.engine import EngineRequirements, Token
from echoic.session.decoding.strategy import (
    SegmentBounds,
    TimedWord,
    WindowResult,
    WindowSpan,
    find_last_end,
    group_words,
    order_words,
)
from echoic.units import to_samples

#: Seconds after a word's last piece from which on no further piece of it is expected.
_MAX_TOKEN_GAP = 0.4
#: Seconds between the beginnings of one word heard on both sides of a flush; one said twice takes longer.
_SAME_WORD_SECONDS = 0.25
#: The most seconds of left context for a partial, which is decoded often and shown for a moment.
_PARTIAL_LEFT_CONTEXT = 1.0
#: Seconds of silence after which nothing more is waited for: what was said is complete.
_SETTLED_SILENCE = 0.5
#: Seconds before the present that a skipped window leaves to be decoded with the next one, since
#: the gate hears the beginning of a word a little late.
_ONSET_SECONDS = 0.3


class StatefulStrategy:
    """Decodes new audio only, from where the decoder stood; holds back a word cut by the edge.

    Args:
        requirements: The engine's wishes: contexts in seconds.
        rate: Samples per second of the tape.
        to_seconds: Turns a position on the tape into seconds on the session's clock.
        has_speech: Whether there is speech between two positions, or None to decode everything.
    """

    repeats_windows = False
    max_ahead = 1

    def __init__(
        self,
        requirements: EngineRequirements,
        rate: int,
        to_seconds: Callable[[int], float],
        has_speech: Callable[[int, int], bool] | None,
    ) -> None:
        self._left_context = to_samples(requirements.left_context, rate)
        self._right_context = to_samples(requirements.right_context, rate)
        self._onset = to_samples(_ONSET_SECONDS, rate)
        self._silence = to_samples(_SETTLED_SILENCE, rate)
        self._partial_left_context = to_samples(_PARTIAL_LEFT_CONTEXT, rate)
        self._to_seconds = to_seconds
        self._has_speech = has_speech
        self._decoded_position = 0
        self._is_open = False
        self._decoded_until = 0.0
        self._emitted_until = 0.0
        self._held_tokens: list[Token] = []
        self._flushed_word: TimedWord | None = None
        self.state: object = None

    @property
    def holds_words(self) -> bool:
        """Whether anything was planned since the last flush."""
        return self._is_open

    @property
    def keep_from(self) -> int:
        """The left context of what is not yet decoded."""
        return self._decoded_position - self._left_context

    def plan_windows(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window of what is not yet decoded, up to the right context."""
        self._is_open = not cut.is_flush
        if not self._contains_speech(cut):
            self._decoded_position = max(self._decoded_position, cut.end - self._right_context - self._onset)
            return ()
        right = max(self._decoded_position, self._find_commit_end(cut))
        if right == self._decoded_position:
            return ()
        piece = WindowSpan(
            self._decoded_position - self._left_context,
            self._decoded_position,
            right,
            cut.end,
            is_last=cut.is_flush,
        )
        self._decoded_position = right
        return (piece,)

    def plan_preview(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window of all that is not yet decoded, with little left context."""
        if not self._contains_speech(cut):
            return ()
        left = min(self._left_context, self._partial_left_context)
        return (
            WindowSpan(
                self._decoded_position - left,
                self._decoded_position,
                max(self._decoded_position, self._find_commit_end(cut)),
                cut.end,
            ),
        )

    def _contains_speech(self, cut: SegmentBounds) -> bool:
        """Return whether there is speech in what is not yet decoded, or shortly before.

        A word's last sound may be told after the speech is over, and an engine may leave the frame that a
        window ends in to the next one.
        """
        if self._decoded_position >= cut.end:
            return False
        return self._has_speech is None or self._has_speech(self._decoded_position - self._silence, cut.end)

    def _find_commit_end(self, cut: SegmentBounds) -> int:
        """Return up to where a window that ends here may be committed."""
        if cut.is_flush:
            return cut.end
        if self._has_speech and not self._has_speech(cut.end - self._silence, cut.end):
            return cut.end - min(self._onset, self._right_context)
        return cut.end - self._right_context

    def emit_words(self, answers: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return the words that are whole, those held back before them first."""
        for answer in answers:
            if answer.hypothesis is not None:
                self._held_tokens += _shift_tokens(answer.hypothesis.committed, answer.start_seconds)
                self.state = answer.hypothesis.state
                self._decoded_until = self._to_seconds(answer.span.new_end)
        whole = len(self._held_tokens) if flush or not answers else self._count_whole_tokens()
        words = self._drop_repeated_word(group_words(self._held_tokens[:whole], 0.0))
        self._held_tokens = self._held_tokens[whole:]
        if words or flush:
            self._flushed_word = words[-1] if words and flush else None
        placed = order_words(words, self._emitted_until)
        self._emitted_until = find_last_end(placed, self._emitted_until)
        return placed

    def preview_words(self, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return what is held, what this window commits and what it only suspects."""
        tokens = list(self._held_tokens)
        for answer in answers:
            if answer.hypothesis is not None:
                tokens += _shift_tokens(answer.hypothesis.committed, answer.start_seconds)
                tokens += _shift_tokens(answer.hypothesis.volatile, answer.start_seconds)
        return self._drop_repeated_word(group_words(tokens, 0.0))

    def _drop_repeated_word(self, words: list[TimedWord]) -> list[TimedWord]:
        """Return words without the first, if a flush in its midst had it said already."""
        if words and self._flushed_word and _is_same_word(self._flushed_word, words[0]):
            return words[1:]
        return words

    def _count_whole_tokens(self) -> int:
        """How many held tokens make whole words: all, or all but those of the last word."""
        if not self._held_tokens:
            return 0
        last = self._held_tokens[-1]
        if (
            last.start is not None
            and last.start + (last.duration or 0.0) + _MAX_TOKEN_GAP <= self._decoded_until
        ):
            return len(self._held_tokens)
        starts = [i for i, token in enumerate(self._held_tokens) if token.text.startswith(" ")]
        return starts[-1] if starts else 0


def _is_same_word(before: TimedWord, after: TimedWord) -> bool:
    """Return whether two words are one that was cut: spelled alike, and begun nearly at once."""
    if before.start is None or after.start is None or after.start - before.start > _SAME_WORD_SECONDS:
        return False
    return _strip_punctuation(before.text) == _strip_punctuation(after.text)


def _strip_punctuation(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _shift_tokens(tokens: Sequence[Token], begins: float) -> list[Token]:
    return [t if t.start is None else replace(t, start=t.start + begins) for t in tokens]
