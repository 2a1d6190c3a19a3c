"""The figures of one recording heard in one way, and their sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from echoic.evaluate.scoring import Errors, Seams, Terms, errors, letters, percentile, seams, terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.evaluate.manifest import Entry
    from echoic.evaluate.normal import Normaliser
    from echoic.evaluate.speakers import SpeakerErrors

    _Sum = TypeVar("_Sum", Errors, Seams, Terms, SpeakerErrors)

#: Digits of figures in JSON.
_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Score:
    """Figures; what cannot be told is None.

    Attributes:
        recordings: How many.
        seconds: Their length.
        spent: Seconds that it took to transcribe them.
        words: Edits of words, where the manifest says what is said.
        letters: Edits of letters.
        rare: Terms that the manifest names, and how many of them were not heard.
        seams: What joining segments did, against the same model's text without joins.
        late: For each utterance, seconds from its end to the final that completes it.
        live: Speakers as the finals gave them.
        corrected: Speakers as the summary at the end corrects them.
    """

    recordings: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    words: Errors | None = None
    letters: Errors | None = None
    rare: Terms | None = None
    seams: Seams | None = None
    late: tuple[float, ...] = ()
    live: SpeakerErrors | None = None
    corrected: SpeakerErrors | None = None

    def __add__(self, other: Score) -> Score:
        return Score(
            self.recordings + other.recordings,
            self.seconds + other.seconds,
            self.spent + other.spent,
            _sum(self.words, other.words),
            _sum(self.letters, other.letters),
            _sum(self.rare, other.rare),
            _sum(self.seams, other.seams),
            self.late + other.late,
            _sum(self.live, other.live),
            _sum(self.corrected, other.corrected),
        )

    @property
    def speed(self) -> float:
        """Seconds spent on a second of audio; NaN of no audio."""
        return self.spent / self.seconds if self.seconds else float("nan")


def score(
    entry: Entry,
    texts: Sequence[str],
    normaliser: Normaliser,
    seconds: float,
    spent: float,
    whole: str | None = None,
) -> Score:
    """Return what the texts of a recording are worth.

    Args:
        entry: What the manifest says of it.
        texts: What was said, segment by segment.
        normaliser: What is made of both sides before they are compared.
        seconds: Length of the recording.
        spent: Seconds that it took.
        whole: The same model's text without joins, for the seams; None: there is none.
    """
    joined = seams(whole, texts) if whole is not None else None
    if entry.reference is None:
        return Score(1, seconds, spent, seams=joined)
    text = " ".join(texts)
    rare = terms(entry.reference, text, entry.rare_words, normaliser) if entry.rare_words else None
    return Score(
        1,
        seconds,
        spent,
        errors(entry.reference, text, normaliser),
        letters(entry.reference, text, normaliser),
        rare,
        joined,
    )


def facts(figures: Score) -> dict[str, object]:
    """Return figures as they stand in JSON: rates in percent, times in seconds; null: it cannot be told."""
    words, chars, rare = figures.words, figures.letters, figures.rare
    return {
        "recordings": figures.recordings,
        "audio_seconds": round(figures.seconds, _DECIMALS),
        "processing_seconds": round(figures.spent, _DECIMALS),
        "rtf": round(figures.speed, _DECIMALS + 1) if figures.seconds else None,
        "reference_words": words and words.words,
        "wer": _rate(words),
        "substitutions": words and words.substitutions,
        "deletions": words and words.deletions,
        "insertions": words and words.insertions,
        "cer": _rate(chars),
        "rare_terms": rare and {"places": rare.places, "missed": rare.missed, "error": _rate(rare)},
        "latency": _latency(figures.late),
        "seams": figures.seams
        and {
            "boundaries": figures.seams.boundaries,
            "doubled": figures.seams.doubled,
            "added": figures.seams.added,
            "lost": figures.seams.lost,
        },
        "der": _speakers(figures.live),
        "der_corrected": _speakers(figures.corrected),
    }


def _sum(one: _Sum | None, other: _Sum | None) -> _Sum | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _rate(of: Errors | Terms | SpeakerErrors | None) -> float | None:
    return None if of is None else round(of.rate, _DECIMALS)


def _latency(late: Sequence[float]) -> dict[str, object] | None:
    if not late:
        return None
    marks = {"p50": percentile(late, 50), "p95": percentile(late, 95), "most": max(late)}
    return {"utterances": len(late), **{name: round(value, _DECIMALS) for name, value in marks.items()}}


def _speakers(found: SpeakerErrors | None) -> dict[str, object] | None:
    if found is None:
        return None
    parts = {
        "missed": found.missed,
        "false_alarm": found.false_alarm,
        "confusion": found.confusion,
        "total": found.total,
    }
    return {"rate": _rate(found), **{name: round(value, _DECIMALS) for name, value in parts.items()}}
