"""Word error rates, seam errors, latencies, and the score of an evaluation that they add up to.

Reference and hypothesis go through the same normalizer and nothing else. The default is ``normalize_text``:
lower case, no punctuation. It leaves numbers and abbreviations alone ("mr" is not "mister").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer

from echoic.evaluate.counts import Summable, percentage
from echoic.evaluate.diarization import DiarizationErrors
from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.normalize import TextNormalizer, normalize_text

#: Words within which an error counts as near a boundary: about one second of speech.
_NEAR_WORDS = 3
#: Decimals of figures in JSON.
_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class EditCounts(Summable):
    """Edits that turn a reference into a hypothesis, and the length of the reference in words or letters."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_length: int = 0

    @property
    def rate(self) -> float:
        """The error rate in percent; 0 for an empty reference."""
        return percentage(self.substitutions + self.deletions + self.insertions, self.reference_length)


def count_word_errors(
    reference: str, hypothesis: str, normalizer: TextNormalizer = normalize_text
) -> EditCounts:
    """Return the word edits between two texts, both normalized."""
    expected, recognized = normalizer(reference), normalizer(hypothesis)
    if not expected:
        return EditCounts(insertions=len(recognized))
    out = jiwer.process_words(" ".join(expected), " ".join(recognized))
    return EditCounts(out.substitutions, out.deletions, out.insertions, len(expected))


def count_character_errors(
    reference: str, hypothesis: str, normalizer: TextNormalizer = normalize_text
) -> EditCounts:
    """Return the character edits between two texts, both normalized; spaces between words count."""
    expected, recognized = " ".join(normalizer(reference)), " ".join(normalizer(hypothesis))
    if not expected:
        return EditCounts(insertions=len(recognized))
    out = jiwer.process_characters(expected, recognized)
    return EditCounts(out.substitutions, out.deletions, out.insertions, len(expected))


@dataclass(frozen=True, slots=True)
class TermErrors(Summable):
    """How often given terms occur in a reference, and how many of these occurrences the hypothesis lacks."""

    occurrences: int = 0
    missed: int = 0

    @property
    def rate(self) -> float:
        """The missed share in percent; 0 without occurrences."""
        return percentage(self.missed, self.occurrences)


def count_term_errors(
    reference: str, hypothesis: str, wanted: Iterable[str], normalizer: TextNormalizer = normalize_text
) -> TermErrors:
    """Count the occurrences of terms in the reference and those that the hypothesis misses.

    An occurrence is found if every word of it is aligned to an equal word.

    Args:
        reference: The reference text.
        hypothesis: The recognized text.
        wanted: Terms of one or more words; those that the reference does not have do not count.
        normalizer: Splits both texts and the terms into words.
    """
    expected, recognized = normalizer(reference), normalizer(hypothesis)
    places = align_words(expected, recognized)
    equal = [
        index is not None and recognized[index] == word for word, index in zip(expected, places, strict=True)
    ]
    total = TermErrors()
    for term in {tuple(normalizer(term)) for term in wanted} - {()}:
        for start in range(len(expected) - len(term) + 1):
            if tuple(expected[start : start + len(term)]) == term:
                total += TermErrors(1, not all(equal[start : start + len(term)]))
    return total


def align_words(expected: Sequence[str], found: Sequence[str]) -> list[int | None]:
    """Return for each expected word the index of the found word aligned to it, or None if it is missing."""
    places: list[int | None] = [None] * len(expected)
    if not expected or not found:
        return places
    for chunk in jiwer.process_words(" ".join(expected), " ".join(found)).alignments[0]:
        if chunk.type in ("equal", "substitute"):
            for offset in range(chunk.ref_end_idx - chunk.ref_start_idx):
                places[chunk.ref_start_idx + offset] = chunk.hyp_start_idx + offset
    return places


@dataclass(frozen=True, slots=True)
class SeamErrors(Summable):
    """Errors near segment boundaries, against a transcript that was decoded without boundaries."""

    boundaries: int = 0
    #: Inserted words that repeat one of the three words before or after them.
    doubled: int = 0
    #: Other words inserted near a boundary.
    added: int = 0
    #: Words missing near a boundary.
    lost: int = 0


def count_seam_errors(offline_text: str, segments: Iterable[str]) -> SeamErrors:
    """Count words doubled, added and lost within three words of a segment boundary.

    Args:
        offline_text: The transcript of the same audio, decoded without boundaries.
        segments: The texts of the segments, in order.
    """
    recognized, edges = _join_segments(segments)
    expected = normalize_text(offline_text)
    if not expected or not recognized:
        return SeamErrors(len(edges), 0, 0, 0)
    doubled = added = lost = 0
    for chunk in jiwer.process_words(" ".join(expected), " ".join(recognized)).alignments[0]:
        if chunk.type == "delete" and _is_near_boundary(chunk.hyp_start_idx, edges):
            lost += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "insert":
            for index in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                if _is_near_boundary(index, edges):
                    again = (
                        recognized[index]
                        in recognized[max(0, index - _NEAR_WORDS) : index]
                        + recognized[index + 1 : index + 1 + _NEAR_WORDS]
                    )
                    doubled, added = doubled + again, added + (not again)
    return SeamErrors(len(edges), doubled, added, lost)


def _join_segments(segments: Iterable[str]) -> tuple[list[str], list[int]]:
    recognized: list[str] = []
    edges: list[int] = []
    for text in segments:
        words = normalize_text(text)
        if words and recognized:
            edges.append(len(recognized))
        recognized += words
    return recognized, edges


def _is_near_boundary(index: int, edges: Iterable[int]) -> bool:
    return any(edge - _NEAR_WORDS <= index <= edge + _NEAR_WORDS for edge in edges)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of ``values``; NaN if there are none."""
    if not values:
        return float("nan")
    rank = max(1, -(-len(values) * percent // 100))
    return sorted(values)[min(len(values), int(rank)) - 1]


@dataclass(frozen=True, slots=True)
class ReferenceUtterance:
    """An utterance from ``start`` to ``end`` in seconds, with its text; empty if unknown."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class DeliveredWord:
    """A word of the transcript, and the time in seconds of audio at which its final arrived."""

    word: str
    delivered_at: float


def collect_delivered_words(finals: Iterable[tuple[str, float]]) -> list[DeliveredWord]:
    """Return the words of the finals with their arrival times.

    Args:
        finals: Text and arrival time in seconds of audio of each final.
    """
    return [
        DeliveredWord(word, arrival_seconds)
        for text, arrival_seconds in finals
        for word in normalize_text(text)
    ]


def measure_latencies(
    utterances: Sequence[ReferenceUtterance], words: Sequence[DeliveredWord]
) -> list[float]:
    """Return for each utterance the seconds from its end to the final that completes it.

    That is the final with the last word that aligns to the utterance. Silence at the end of an utterance
    belongs to it. An utterance without an aligned word has no latency.
    """
    expected = [normalize_text(utterance.text) for utterance in utterances]
    places = align_words([word for text in expected for word in text], [one.word for one in words])
    latencies, first = [], 0
    for utterance, text in zip(utterances, expected, strict=True):
        aligned = [place for place in places[first : first + len(text)] if place is not None]
        first += len(text)
        if aligned:
            latencies.append(words[aligned[-1]].delivered_at - utterance.end)
    return latencies


@dataclass(frozen=True, slots=True)
class EvaluationScore(Summable):
    """Figures of one or more recordings; figures that were not measured are None."""

    recording_count: int = 0
    audio_seconds: float = 0.0
    #: Seconds spent on transcribing.
    processing_seconds: float = 0.0
    word_errors: EditCounts | None = None
    character_errors: EditCounts | None = None
    #: Errors in the rare words that the manifest lists.
    term_errors: TermErrors | None = None
    #: Against the text of the same model without segment boundaries.
    seam_errors: SeamErrors | None = None
    #: For each utterance, seconds from its end to the final that completes it.
    latencies: tuple[float, ...] = ()
    #: Errors of the speakers as the finals carried them.
    live_diarization: DiarizationErrors | None = None
    #: Errors of the speakers as the summary at the end corrects them.
    final_diarization: DiarizationErrors | None = None

    @property
    def realtime_factor(self) -> float:
        """Processing seconds per second of audio; NaN without audio."""
        return self.processing_seconds / self.audio_seconds if self.audio_seconds else float("nan")


def score_recording(
    entry: ManifestEntry,
    texts: Sequence[str],
    normalizer: TextNormalizer,
    audio_seconds: float,
    processing_seconds: float,
    offline_text: str | None = None,
) -> EvaluationScore:
    """Compare the transcript of one recording with its manifest entry.

    Args:
        entry: The manifest entry.
        texts: The recognized texts, segment by segment.
        normalizer: Splits both texts into comparable words.
        audio_seconds: Length of the recording.
        processing_seconds: Seconds spent on transcribing it.
        offline_text: The text of the same model without boundaries, for seam errors. If None, they are not
            computed.
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
    """Return a score as JSON: rates in percent, times in seconds, null for what was not measured."""
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


def _round_rate(of: EditCounts | TermErrors | DiarizationErrors | None) -> float | None:
    return None if of is None else round(of.rate, _DECIMALS)


def _summarize_latencies(latencies: Sequence[float]) -> dict[str, object] | None:
    if not latencies:
        return None
    marks = {"p50": percentile(latencies, 50), "p95": percentile(latencies, 95), "most": max(latencies)}
    return {"utterances": len(latencies), **{name: round(value, _DECIMALS) for name, value in marks.items()}}


def _describe_diarization(errors: DiarizationErrors | None) -> dict[str, object] | None:
    if errors is None:
        return None
    parts = {
        "missed": errors.missed,
        "false_alarm": errors.false_alarm,
        "confusion": errors.confusion,
        "total": errors.total,
    }
    return {"rate": _round_rate(errors), **{name: round(value, _DECIMALS) for name, value in parts.items()}}
