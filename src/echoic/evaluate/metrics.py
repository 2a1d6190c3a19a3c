"""Scores of transcripts: word error rates, and what is doubled or lost where texts are joined.

Both sides go through one normalisation and nothing else; unless another is named it is ``normalise``: lower
case, no punctuation. Numbers and abbreviations stay as they are written ("mr" is not "mister").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jiwer

from echoic.evaluate.diarization import DiarizationErrors
from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.normalize import TextNormalizer, normalize_text

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


@dataclass(frozen=True, slots=True)
class ReferenceUtterance:
    """What is said in one go: its place in seconds, and its words if they are known."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class DeliveredWord:
    """A word of the transcript and the second of audio at whose hearing its final came."""

    word: str
    delivered_at: float


def collect_delivered_words(finals: Iterable[tuple[str, float]]) -> list[DeliveredWord]:
    """Return the transcript's words.

    Args:
        finals: Each one's text, and the second of audio at which it came.
    """
    return [DeliveredWord(word, at) for text, at in finals for word in normalize_text(text)]


def measure_latencies(
    utterances: Sequence[ReferenceUtterance], words: Sequence[DeliveredWord]
) -> list[float]:
    """Return for each passage the seconds from its end to the final that completes it.

    The final that completes it is the one with the last word that aligns to the passage. Silence at the end
    of a passage counts as passage; a passage of which nothing was heard is left out.
    """
    expected = [normalize_text(passage.text) for passage in utterances]
    places = align_words([word for text in expected for word in text], [one.word for one in words])
    late, first = [], 0
    for passage, text in zip(utterances, expected, strict=True):
        found = [place for place in places[first : first + len(text)] if place is not None]
        first += len(text)
        if found:
            late.append(words[found[-1]].delivered_at - passage.end)
    return late


#: Digits of figures in JSON.
_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class EvaluationScore:
    """Figures; what cannot be told is None.

    Attributes:
        recording_count: How many.
        audio_seconds: Their length.
        processing_seconds: Seconds that it took to transcribe them.
        word_errors: Edits of words, where the manifest says what is said.
        character_errors: Edits of letters.
        term_errors: Terms that the manifest names, and how many of them were not heard.
        seam_errors: What joining segments did, against the same model's text without joins.
        latencies: For each utterance, seconds from its end to the final that completes it.
        live_diarization: Speakers as the finals gave them.
        final_diarization: Speakers as the summary at the end corrects them.
    """

    recording_count: int = 0
    audio_seconds: float = 0.0
    processing_seconds: float = 0.0
    word_errors: EditCounts | None = None
    character_errors: EditCounts | None = None
    term_errors: TermErrors | None = None
    seam_errors: SeamErrors | None = None
    latencies: tuple[float, ...] = ()
    live_diarization: DiarizationErrors | None = None
    final_diarization: DiarizationErrors | None = None

    def __add__(self, other: EvaluationScore) -> EvaluationScore:
        return EvaluationScore(
            self.recording_count + other.recording_count,
            self.audio_seconds + other.audio_seconds,
            self.processing_seconds + other.processing_seconds,
            _add_optional(self.word_errors, other.word_errors),
            _add_optional(self.character_errors, other.character_errors),
            _add_optional(self.term_errors, other.term_errors),
            _add_optional(self.seam_errors, other.seam_errors),
            self.latencies + other.latencies,
            _add_optional(self.live_diarization, other.live_diarization),
            _add_optional(self.final_diarization, other.final_diarization),
        )

    @property
    def realtime_factor(self) -> float:
        """Seconds spent on a second of audio; NaN of no audio."""
        return self.processing_seconds / self.audio_seconds if self.audio_seconds else float("nan")


def score_recording(
    entry: ManifestEntry,
    texts: Sequence[str],
    normalizer: TextNormalizer,
    audio_seconds: float,
    processing_seconds: float,
    offline_text: str | None = None,
) -> EvaluationScore:
    """Return what the texts of a recording are worth.

    Args:
        entry: What the manifest says of it.
        texts: What was said, segment by segment.
        normalizer: What is made of both sides before they are compared.
        audio_seconds: Length of the recording.
        processing_seconds: Seconds that it took.
        offline_text: The same model's text without joins, for the seams; None: there is none.
    """
    joined = count_seam_errors(offline_text, texts) if offline_text is not None else None
    if entry.reference is None:
        return EvaluationScore(1, audio_seconds, processing_seconds, seam_errors=joined)
    text = " ".join(texts)
    rare = (
        count_term_errors(entry.reference, text, entry.rare_words, normalizer) if entry.rare_words else None
    )
    return EvaluationScore(
        1,
        audio_seconds,
        processing_seconds,
        count_word_errors(entry.reference, text, normalizer),
        count_character_errors(entry.reference, text, normalizer),
        rare,
        joined,
    )


def to_json(scores: EvaluationScore) -> dict[str, object]:
    """Return figures as they stand in JSON: rates in percent, times in seconds; null: it cannot be told."""
    words, chars, rare = scores.word_errors, scores.character_errors, scores.term_errors
    return {
        "recordings": scores.recording_count,
        "audio_seconds": round(scores.audio_seconds, _DECIMALS),
        "processing_seconds": round(scores.processing_seconds, _DECIMALS),
        "rtf": round(scores.realtime_factor, _DECIMALS + 1) if scores.audio_seconds else None,
        "reference_words": words and words.reference_length,
        "wer": _round_rate(words),
        "substitutions": words and words.substitutions,
        "deletions": words and words.deletions,
        "insertions": words and words.insertions,
        "cer": _round_rate(chars),
        "rare_terms": rare
        and {"places": rare.occurrences, "missed": rare.missed, "error": _round_rate(rare)},
        "latency": _summarize_latencies(scores.latencies),
        "seams": scores.seam_errors
        and {
            "boundaries": scores.seam_errors.boundaries,
            "doubled": scores.seam_errors.doubled,
            "added": scores.seam_errors.added,
            "lost": scores.seam_errors.lost,
        },
        "der": _describe_diarization(scores.live_diarization),
        "der_corrected": _describe_diarization(scores.final_diarization),
    }


_Summable = TypeVar("_Summable", EditCounts, SeamErrors, TermErrors, DiarizationErrors)


def _add_optional(one: _Summable | None, other: _Summable | None) -> _Summable | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _round_rate(of: EditCounts | TermErrors | DiarizationErrors | None) -> float | None:
    return None if of is None else round(of.rate, _DECIMALS)


def _summarize_latencies(latencies: Sequence[float]) -> dict[str, object] | None:
    if not latencies:
        return None
    marks = {"p50": percentile(latencies, 50), "p95": percentile(latencies, 95), "most": max(latencies)}
    return {"utterances": len(latencies), **{name: round(value, _DECIMALS) for name, value in marks.items()}}


def _describe_diarization(found: DiarizationErrors | None) -> dict[str, object] | None:
    if found is None:
        return None
    parts = {
        "missed": found.missed,
        "false_alarm": found.false_alarm,
        "confusion": found.confusion,
        "total": found.total,
    }
    return {"rate": _round_rate(found), **{name: round(value, _DECIMALS) for name, value in parts.items()}}
