"""The figures of one recording heard in one way, and their sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from echoic.evaluate.scoring import (
    EditCounts,
    SeamErrors,
    TermErrors,
    count_character_errors,
    count_seam_errors,
    count_term_errors,
    count_word_errors,
    percentile,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.evaluate.manifest import ManifestEntry
    from echoic.evaluate.normal import TextNormalizer
    from echoic.evaluate.speakers import DiarizationErrors

    _Summable = TypeVar("_Summable", EditCounts, SeamErrors, TermErrors, DiarizationErrors)

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
