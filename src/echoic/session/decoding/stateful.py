"""Decoding strategy for engines with decoder state: each window continues where the last one ended."""

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

#: Seconds after a token within which another token of the same word may follow.
_MAX_TOKEN_GAP = 0.4
#: Maximum seconds between the starts of one word that was decoded on both sides of a flush. A speaker who
#: really says the word twice needs longer.
_SAME_WORD_SECONDS = 0.25
#: Maximum seconds of left context for partials, which are decoded often and shown briefly.
_PARTIAL_LEFT_CONTEXT = 1.0
#: Seconds of silence after which a window is committed without waiting for right context.
_SETTLED_SILENCE = 0.5
#: Seconds at the end of a skipped window that are decoded with the next one, since voice activity detection
#: reports the start of a word slightly late.
_ONSET_SECONDS = 0.3


class StatefulStrategy:
    """Decodes only new audio, continuing the decoder's state; holds back a word cut off by the window.

    Args:
        requirements: Requirements of the engine; its contexts are used.
        rate: Samples per second of the buffer.
        to_seconds: Converts a position in the buffer to seconds on the session's clock.
        has_speech: Returns whether there is speech between two positions. If None, everything is decoded.
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
        """Whether a segment was planned since the last flush."""
        return self._is_open

    @property
    def keep_from(self) -> int:
        """Start of the left context of the next window."""
        return self._decoded_position - self._left_context

    def plan_windows(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window of all undecoded audio, with right context."""
        self._is_open = not bounds.is_flush
        if not self._contains_speech(bounds):
            self._decoded_position = max(
                self._decoded_position, bounds.end - self._right_context - self._onset
            )
            return ()
        right = max(self._decoded_position, self._find_commit_end(bounds))
        if right == self._decoded_position:
            return ()
        span = WindowSpan(
            self._decoded_position - self._left_context,
            self._decoded_position,
            right,
            bounds.end,
            is_last=bounds.is_flush,
        )
        self._decoded_position = right
        return (span,)

    def plan_preview(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the window of all undecoded audio, with little left context."""
        if not self._contains_speech(bounds):
            return ()
        left = min(self._left_context, self._partial_left_context)
        return (
            WindowSpan(
                self._decoded_position - left,
                self._decoded_position,
                max(self._decoded_position, self._find_commit_end(bounds)),
                bounds.end,
            ),
        )

    def _contains_speech(self, bounds: SegmentBounds) -> bool:
        """Return whether there is speech in the undecoded audio or shortly before it.

        An engine may emit the end of a word after the speech, and may leave the last frame of a window to the
        next one.
        """
        if self._decoded_position >= bounds.end:
            return False
        return self._has_speech is None or self._has_speech(
            self._decoded_position - self._silence, bounds.end
        )

    def _find_commit_end(self, bounds: SegmentBounds) -> int:
        """Return the position up to which a window that ends here is committed."""
        if bounds.is_flush:
            return bounds.end
        if self._has_speech and not self._has_speech(bounds.end - self._silence, bounds.end):
            return bounds.end - min(self._onset, self._right_context)
        return bounds.end - self._right_context

    def emit_words(self, results: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return the complete words, starting with those held back before."""
        for result in results:
            if result.hypothesis is not None:
                self._held_tokens += _shift_tokens(result.hypothesis.committed, result.start_seconds)
                self.state = result.hypothesis.state
                self._decoded_until = self._to_seconds(result.span.new_end)
        whole = len(self._held_tokens) if flush or not results else self._count_whole_tokens()
        words = self._drop_repeated_word(group_words(self._held_tokens[:whole], 0.0))
        self._held_tokens = self._held_tokens[whole:]
        if words or flush:
            self._flushed_word = words[-1] if words and flush else None
        ordered = order_words(words, self._emitted_until)
        self._emitted_until = find_last_end(ordered, self._emitted_until)
        return ordered

    def preview_words(self, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return held words, then committed and volatile words of the window."""
        tokens = list(self._held_tokens)
        for result in results:
            if result.hypothesis is not None:
                tokens += _shift_tokens(result.hypothesis.committed, result.start_seconds)
                tokens += _shift_tokens(result.hypothesis.volatile, result.start_seconds)
        return self._drop_repeated_word(group_words(tokens, 0.0))

    def _drop_repeated_word(self, words: list[TimedWord]) -> list[TimedWord]:
        """Drop the first word if a flush in the middle of it emitted it already."""
        if words and self._flushed_word and _is_same_word(self._flushed_word, words[0]):
            return words[1:]
        return words

    def _count_whole_tokens(self) -> int:
        """Return how many held tokens form complete words: all, or all but those of the last word."""
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
    """Return whether two words are one that was cut off: same spelling, nearly the same start."""
    if before.start is None or after.start is None or after.start - before.start > _SAME_WORD_SECONDS:
        return False
    return _strip_punctuation(before.text) == _strip_punctuation(after.text)


def _strip_punctuation(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


def _shift_tokens(tokens: Sequence[Token], offset: float) -> list[Token]:
    return [t if t.start is None else replace(t, start=t.start + offset) for t in tokens]
