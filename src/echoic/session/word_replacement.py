"""Applies vocabulary replacements to timed words, across the borders of segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from echoic.session.decoding.strategy import TimedWord
from echoic.text.replacements import Replacements

#: Seconds of audio without a new word after which the beginning of a phrase is emitted as it is.
_MAX_PHRASE_WAIT = 1.0


class ReplacementBuffer:
    """Applies replacements to words that arrive segment by segment.

    Words that may be the beginning of a phrase to replace are held back until the next words decide it.
    """

    def __init__(self) -> None:
        self._held: list[TimedWord] = []
        self._held_since = 0.0

    def apply_to_words(
        self, words: Sequence[TimedWord], replacements: Replacements, end: float, *, flush: bool
    ) -> list[TimedWord]:
        """Return the words to emit for a segment.

        Args:
            words: New words of the segment.
            replacements: Replacements to apply.
            end: Seconds on the session's clock at which the segment ends.
            flush: Hold nothing back.
        """
        pending = [*self._held, *words]
        count = len(pending)
        if words:
            self._held_since = end
        if not flush and replacements.has_phrases and end - self._held_since < _MAX_PHRASE_WAIT:
            count = replacements.count_finished_words([word.text for word in pending])
        self._held = pending[count:]
        return replace_words(pending[:count], replacements)

    def preview_words(self, words: Sequence[TimedWord], replacements: Replacements) -> list[TimedWord]:
        """Return the held words and these words, replaced, without changing the buffer."""
        return replace_words([*self._held, *words], replacements)


def replace_words(words: Sequence[TimedWord], replacements: Replacements) -> list[TimedWord]:
    """Apply replacements to words and keep their times.

    A replacement with as many words as the original keeps their times one by one. Otherwise the new words
    share the time of the original, in proportion to their letters, and its lowest confidence.
    """
    replaced: list[TimedWord] = []
    done = 0
    for edit in replacements.find_edits([word.text for word in words]) if replacements else ():
        replaced += words[done : edit.first]
        replaced += _spread_replacement(words[edit.first : edit.end], edit.words)
        done = edit.end
    return [*replaced, *words[done:]]


def _spread_replacement(old: Sequence[TimedWord], texts: Sequence[str]) -> list[TimedWord]:
    """Return words with these texts in the time of the old ones."""
    if len(old) == len(texts):
        return [replace(word, text=text) for word, text in zip(old, texts, strict=True)]
    known = [word.confidence for word in old if word.confidence is not None]
    rough = old[0].rough_span and old[-1].rough_span and (old[0].rough_span[0], old[-1].rough_span[1])
    template = replace(old[0], confidence=min(known) if known else None, rough_span=rough)
    start, end = old[0].start, old[-1].end
    if start is None or end is None:
        return [replace(template, text=text, start=None, end=None) for text in texts]
    letters = sum(len(text) for text in texts)
    edges = [start + (end - start) * part / letters for part in accumulate(map(len, texts), initial=0)]
    return [
        replace(template, text=text, start=word_start, end=word_end)
        for text, (word_start, word_end) in zip(texts, pairwise(edges), strict=True)
    ]
