"""An extractive summary: quotes the sentences that hold most of a talk's frequent words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from math import log2
from typing import Final

from echoic.insights.base import Findings, InsightStage, TranscriptSegment
from echoic.insights.rules.keywords import KeywordCounts
from echoic.insights.rules.sentences import Sentence, split_sentences

#: The maximum length of a transcript: about four hours of talk.
_MAX_BYTES: Final = 250_000
_MAX_TOPICS: Final = 5
#: A summary has one sentence, and one more for each of these word counts that the talk exceeds.
_SUMMARY_THRESHOLDS: Final = (80, 250, 700, 1500)
#: The length of a sentence that may be quoted, in words.
_MIN_WORDS: Final = 6
_MAX_WORDS: Final = 36
#: A talk of at most ``_SHORT_TALK_WORDS`` is its own summary, but for sentences shorter than this.
_MIN_WORDS_SHORT_TALK: Final = 3
_SHORT_TALK_WORDS: Final = 30
#: With fewer candidate sentences there is no summary.
_MIN_CANDIDATES: Final = 3
#: How a sentence's weight is scaled by its length: 0: not at all; 1: in proportion.
_LENGTH_EXPONENT: Final = 0.6
#: The weight of a word that occurs once; each doubling of its count adds one.
_SINGLE_USE_WEIGHT: Final = 0.15
#: Openings of sentences that depend on the one before or address a person (English).
_DEPENDENT_OPENINGS: Final = re.compile(
    r"^(?:now )?"
    r"(?:(?:it|that|this|these|those|he|she|they|which|because|and|but|or|there|yeah|yes|no|exactly|right"
    r"|thanks|thank|hi|hello|hey|sorry|okay|if|unless|suppose|can|could|would|do|does|did|is|are|what|how"
    r"|why|who|where|when|let me|good morning|of|than|for you|i see|i guess"
    r"|i (?:don't|do not) (?:know|think))\b"
    r"|(?:it|that|there|he|she|what)'s\b|they're\b)",
    re.IGNORECASE,
)
_FILLERS: Final = re.compile(r"(?:^|(?<= ))(?:um+|uh+|erm?|hmm+|mm+|you know,?)[,.]?(?: |$)", re.IGNORECASE)
_LEADING_FILLERS: Final = re.compile(
    r"^(?:(?:okay|ok|so|alright|all right|well|yeah|yes|right|great|cool|good|perfect|and|but|then|also|um"
    r"|uh|anyway|oh|ah|i mean,|i think,|you know,)(?:\b|(?<=,))[,.]? ?)+",
    re.IGNORECASE,
)


class RuleProvider:
    """Makes insights by rules, without a model: a summary of quoted sentences, and topics.

    Action items and decisions stay empty: a language model finds those.
    """

    name: Final = "rules"
    model: Final = "extractive"
    max_bytes: Final = _MAX_BYTES

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(1)

    def warm_up(self) -> None:
        """See ``InsightProvider.warm_up``; the word lists were loaded with this module."""

    async def summarize(
        self,
        segments: Sequence[TranscriptSegment],
        stage: InsightStage,  # noqa: ARG002  # the Protocol's signature
    ) -> Findings:
        """See ``InsightProvider.summarize``; runs in a thread, one transcript at a time."""
        async with self._semaphore:
            return await asyncio.to_thread(summarize_segments, segments)

    async def close(self) -> None:
        """See ``InsightProvider.close``."""


def summarize_segments(segments: Sequence[TranscriptSegment]) -> Findings:
    """Return the summary and the topics of a transcript, in a time linear in its length."""
    sentences = split_sentences(segments)
    counts = KeywordCounts(sentences)
    return Findings(summary=_choose_summary(sentences, counts), topics=counts.find_topics(_MAX_TOPICS))


def _choose_summary(sentences: Sequence[Sentence], counts: KeywordCounts) -> tuple[str, ...]:
    """Return the sentences that hold most of the talk's frequent words, in the order of the talk.

    A word counts only for the first sentence that is chosen with it.

    Source: the idea of SumBasic, Nenkova and Vanderwende, "The impact of frequency on summarization", 2005.
    """
    if counts.word_count <= _SHORT_TALK_WORDS:
        return tuple(
            _render_sentence(sentence, counts.language)
            for sentence in sentences
            if len(sentence.words) >= _MIN_WORDS_SHORT_TALK and not sentence.is_question
        )
    candidates = {
        index: counts.count_stems(index)
        for index, sentence in enumerate(sentences)
        if _is_standalone(sentence, counts.language)
    }
    if len(candidates) < _MIN_CANDIDATES:
        return ()
    chosen: list[int] = []
    covered: set[str] = set()
    for _ in range(1 + sum(counts.word_count > threshold for threshold in _SUMMARY_THRESHOLDS)):
        scores = {
            index: _score_sentence(sentences[index], stems, covered)
            for index, stems in candidates.items()
            if index not in chosen
        }
        best = max(scores, key=lambda index: scores[index], default=None)
        if best is None or scores[best] <= 0:
            break
        chosen.append(best)
        covered |= candidates[best].keys()
    return tuple(_render_sentence(sentences[index], counts.language) for index in sorted(chosen))


def _score_sentence(sentence: Sentence, stems: Mapping[str, int], covered: set[str]) -> float:
    weight = sum(_SINGLE_USE_WEIGHT + log2(count) for stem, count in stems.items() if stem not in covered)
    return weight / float(len(sentence.words) ** _LENGTH_EXPONENT)


def _is_standalone(sentence: Sentence, language: str | None) -> bool:
    """Return whether a sentence makes sense without the ones around it."""
    is_truncated = sentence.has_end_mark and sentence.text[:1].islower()
    return (
        _MIN_WORDS <= len(sentence.words) <= _MAX_WORDS
        and not sentence.is_question
        and not is_truncated
        and not (language == "en" and _DEPENDENT_OPENINGS.match(_strip_fillers(sentence.text)))
    )


def _render_sentence(sentence: Sentence, language: str | None) -> str:
    text = _strip_fillers(sentence.text) if language == "en" else sentence.text
    return text[:1].upper() + text[1:]


def _strip_fillers(text: str) -> str:
    """Return an English sentence without hesitations and without words that only lead to it."""
    fluent = _FILLERS.sub("", text.replace("’", "'")).strip()  # noqa: RUF001  # a typographic apostrophe
    return _LEADING_FILLERS.sub("", fluent) or fluent
