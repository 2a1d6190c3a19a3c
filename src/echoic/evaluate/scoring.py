"""Scores of transcripts: word error rates, and what is doubled or lost where texts are joined.

Both sides go through one normalisation and nothing else; unless another is named it is ``normalise``: lower
case, no punctuation. Numbers and abbreviations stay as they are written ("mr" is not "mister").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jiwer

from echoic.evaluate.normal import normalize_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from echoic.evaluate.normal import TextNormalizer

#: Words that fit into the second before a boundary; an engine without times gives no better measure.
_NEAR_WORDS = 3


@dataclass(frozen=True, slots=True)
class EditCounts:
    """Edits that turn a reference into a hypothesis, and the reference's number of words (or letters)."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_length: int = 0

    def __add__(self, other: EditCounts) -> EditCounts:
        return EditCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_length + other.reference_length,
        )

    @property
    def rate(self) -> float:
        """The word error rate in percent; of an empty reference, 0."""
        edits = self.substitutions + self.deletions + self.insertions
        return 100.0 * edits / self.reference_length if self.reference_length else 0.0


def count_word_errors(
    reference: str, hypothesis: str, normalizer: TextNormalizer = normalize_text
) -> EditCounts:
    """Return the edits of words between two texts, both normalised."""
    expected, found = normalizer(reference), normalizer(hypothesis)
    if not expected:
        return EditCounts(insertions=len(found))
    out = jiwer.process_words(" ".join(expected), " ".join(found))
    return EditCounts(out.substitutions, out.deletions, out.insertions, len(expected))


def count_character_errors(
    reference: str, hypothesis: str, normalizer: TextNormalizer = normalize_text
) -> EditCounts:
    """Return the edits of letters between two texts, both normalised; a space between words is a letter."""
    expected, found = " ".join(normalizer(reference)), " ".join(normalizer(hypothesis))
    if not expected:
        return EditCounts(insertions=len(found))
    out = jiwer.process_characters(expected, found)
    return EditCounts(out.substitutions, out.deletions, out.insertions, len(expected))


@dataclass(frozen=True, slots=True)
class TermErrors:
    """How many places of a reference have a certain term, and at how many of them it was not heard."""

    occurrences: int = 0
    missed: int = 0

    def __add__(self, other: TermErrors) -> TermErrors:
        return TermErrors(self.occurrences + other.occurrences, self.missed + other.missed)

    @property
    def rate(self) -> float:
        """The share missed in percent; of no places, 0."""
        return 100.0 * self.missed / self.occurrences if self.occurrences else 0.0


def count_term_errors(
    reference: str, hypothesis: str, wanted: Iterable[str], normalizer: TextNormalizer = normalize_text
) -> TermErrors:
    """Return how many of the wanted terms in the reference the hypothesis lacks; word for word, in place.

    Args:
        reference: What was said.
        hypothesis: What was heard.
        wanted: Terms of one word or several; those that the reference has not do not count.
        normalizer: The normalisation.
    """
    expected, found = normalizer(reference), normalizer(hypothesis)
    places = align_words(expected, found)
    equal = [at is not None and found[at] == word for word, at in zip(expected, places, strict=True)]
    total = TermErrors()
    for term in {tuple(normalizer(term)) for term in wanted} - {()}:
        for start in range(len(expected) - len(term) + 1):
            if tuple(expected[start : start + len(term)]) == term:
                total += TermErrors(1, not all(equal[start : start + len(term)]))
    return total


def align_words(expected: Sequence[str], found: Sequence[str]) -> list[int | None]:
    """Return for each expected word the index of the found word it is aligned to, None if it is missing."""
    places: list[int | None] = [None] * len(expected)
    if not expected or not found:
        return places
    for chunk in jiwer.process_words(" ".join(expected), " ".join(found)).alignments[0]:
        if chunk.type in ("equal", "substitute"):
            for offset in range(chunk.ref_end_idx - chunk.ref_start_idx):
                places[chunk.ref_start_idx + offset] = chunk.hyp_start_idx + offset
    return places


@dataclass(frozen=True, slots=True)
class SeamErrors:
    """What joining segments did to a transcript, against one that was decoded without joins.

    Attributes:
        boundaries: How many joins there are.
        doubled: Words that were added and repeat one of the three words before or after them.
        added: Other words that were added near a join.
        lost: Words that are missing near a join.
    """

    boundaries: int = 0
    doubled: int = 0
    added: int = 0
    lost: int = 0

    def __add__(self, other: SeamErrors) -> SeamErrors:
        return SeamErrors(
            self.boundaries + other.boundaries,
            self.doubled + other.doubled,
            self.added + other.added,
            self.lost + other.lost,
        )


def count_seam_errors(offline_text: str, segments: Iterable[str]) -> SeamErrors:
    """Return what is doubled, added and lost in joined segments near their boundaries.

    Near is within three words of a boundary, about a second of speech.

    Args:
        offline_text: The same audio's transcript without joins.
        segments: The texts that were joined.
    """
    found, edges = _join_segments(segments)
    expected = normalize_text(offline_text)
    if not expected or not found:
        return SeamErrors(len(edges), 0, 0, 0)
    doubled = added = lost = 0
    for chunk in jiwer.process_words(" ".join(expected), " ".join(found)).alignments[0]:
        if chunk.type == "delete" and _is_near_boundary(chunk.hyp_start_idx, edges):
            lost += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "insert":
            for at in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                if _is_near_boundary(at, edges):
                    again = (
                        found[at]
                        in found[max(0, at - _NEAR_WORDS) : at] + found[at + 1 : at + 1 + _NEAR_WORDS]
                    )
                    doubled, added = doubled + again, added + (not again)
    return SeamErrors(len(edges), doubled, added, lost)


def _join_segments(segments: Iterable[str]) -> tuple[list[str], list[int]]:
    found: list[str] = []
    edges: list[int] = []
    for text in segments:
        words = normalize_text(text)
        if words and found:
            edges.append(len(found))
        found += words
    return found, edges


def _is_near_boundary(at: int, edges: Iterable[int]) -> bool:
    return any(edge - _NEAR_WORDS <= at <= edge + _NEAR_WORDS for edge in edges)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of ``values``; NaN if there are none."""
    if not values:
        return float("nan")
    rank = max(1, -(-len(values) * percent // 100))
    return sorted(values)[min(len(values), int(rank)) - 1]
