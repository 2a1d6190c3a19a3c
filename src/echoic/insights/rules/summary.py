"""Notes of a talk: its weightiest sentences, its topics, and what the rules of its language find."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from math import log2
from typing import Final

import stopwordsiso

from echoic.insights.base import ActionItem, Findings, InsightStage, TranscriptSegment
from echoic.insights.rules.action_items import find_action_items
from echoic.insights.rules.decisions import find_decision
from echoic.insights.rules.english import capitalize_first, strip_fillers
from echoic.insights.rules.keywords import KeywordCounts
from echoic.insights.rules.sentences import Sentence, split_sentences

_MAX_ITEMS: Final = 12
_MAX_TOPICS: Final = 5
#: Words of talk above which a summary has two, three, four and five sentences.
_SUMMARY_THRESHOLDS: Final = (80, 250, 700, 1500)
#: Words of a sentence that can stand for itself.
_MIN_WORDS: Final = 6
_MAX_WORDS: Final = 36
#: The same in a talk of a few sentences.
_MIN_WORDS_SHORT_TALK: Final = 3
_SHORT_TALK_WORDS: Final = 30
#: Sentences that can stand for themselves of which one is chosen at least; of fewer none is weightier.
_MIN_CANDIDATES: Final = 3
#: By how much a sentence that the rules found weighs more.
_RULE_FACTOR: Final = 2.0
#: How much more a long sentence has to say than a short one; 0: no more, 1: as much more as it is longer.
_LENGTH_EXPONENT: Final = 0.6
#: What a word weighs that is said once; one that is said twice weighs one more.
_SINGLE_USE_WEIGHT: Final = 0.15
#: Sentences that lean on what was said before, or are said to one another, say little alone (English).
_DEPENDENT_OPENINGS: Final = re.compile(
    r"^(?:now )?"
    r"(?:(?:it|that|this|these|those|he|she|they|which|because|and|but|or|there|yeah|yes|no|exactly|right"
    r"|thanks|"
    r"thank|hi|hello|hey|sorry|okay|if|unless|suppose|can|could|would|do|does|did|is|are|what|how|why|who"
    r"|where|"
    r"when|let me|good morning|of|than|for you|i see|i guess|i (?:don't|do not) (?:know|think))\b"
    r"|(?:it|that|there|he|she|what)'s\b|they're\b)",
    re.IGNORECASE,
)


def notes(segments: Sequence[TranscriptSegment]) -> Findings:
    """Return what was found in a talk, in a time that grows with its length and no faster."""
    talk = split_sentences(segments)
    counts = KeywordCounts(talk)
    items, decisions = _apply_rules(talk) if counts.language == "en" else ([], [])
    names = [part for item in items for part in (item.owner or "").split()]
    quoted = {place for place, sentence in enumerate(talk) if find_decision(sentence)} if decisions else set()
    return Findings(
        summary=_choose_summary(talk, counts, quoted),
        action_items=tuple(items[:_MAX_ITEMS]),
        decisions=tuple(decisions[:_MAX_ITEMS]),
        topics=counts.find_topics(_MAX_TOPICS, names),
    )


def _apply_rules(talk: Iterable[Sentence]) -> tuple[list[ActionItem], list[str]]:
    common = _find_common_words(talk)
    items: dict[str, ActionItem] = {}
    decisions: dict[str, str] = {}
    for sentence in talk:
        for item in find_action_items(sentence, common):
            items.setdefault(item.description.lower(), item)
        if (settled := find_decision(sentence)) is not None:
            decisions.setdefault(settled.lower(), settled)
    return list(items.values()), list(decisions.values())


def _find_common_words(talk: Iterable[Sentence]) -> frozenset[str]:
    """Return the words that name nobody: the language's, and those that this talk has in small letters."""
    listed = stopwordsiso.stopwords("en")
    words = [word for sentence in talk for word in sentence.words[1:]]
    if not any(word[:1].isupper() and not word.startswith("I") for word in words):
        return frozenset(listed)  # all of it is in small letters
    return frozenset(listed) | {word.strip(".,!?") for word in words if word.islower()}


def _choose_summary(talk: Sequence[Sentence], counts: KeywordCounts, quoted: set[int]) -> tuple[str, ...]:
    """Return the sentences that hold most of what the talk comes back to, in its order.

    Each further one counts only what those before it do not hold.

    Source: the idea of SumBasic, Nenkova and Vanderwende, "The impact of frequency on summarization", 2005.
    """
    if counts.word_count <= _SHORT_TALK_WORDS:
        return tuple(
            _render_sentence(one, counts.language)
            for one in talk
            if len(one.words) >= _MIN_WORDS_SHORT_TALK and not one.is_question
        )
    weights = {
        place: counts.weigh_words(place)
        for place, sentence in enumerate(talk)
        if _is_standalone(sentence, counts.language)
    }
    if len(weights) < _MIN_CANDIDATES and not quoted & weights.keys():
        return ()
    chosen: list[int] = []
    covered: set[str] = set()
    for _ in range(1 + sum(counts.word_count > length for length in _SUMMARY_THRESHOLDS)):
        best, best_score = None, 0.0
        for place, stems in weights.items():
            news = sum(
                _SINGLE_USE_WEIGHT + log2(count) for stem, count in stems.items() if stem not in covered
            )
            score = (
                news / len(talk[place].words) ** _LENGTH_EXPONENT * (_RULE_FACTOR if place in quoted else 1.0)
            )
            if score > best_score and place not in chosen:
                best, best_score = place, score
        if best is None:
            break
        chosen.append(best)
        covered |= weights[best].keys()
    return tuple(_render_sentence(talk[place], counts.language) for place in sorted(chosen))


def _is_standalone(sentence: Sentence, language: str | None) -> bool:
    """Return whether a sentence says something by itself."""
    words = len(sentence.words)
    return (
        _MIN_WORDS <= words <= _MAX_WORDS
        and not sentence.is_question
        and not (sentence.has_end_mark and sentence.text[:1].islower())  # the rest of one that was cut
        and not (language == "en" and _DEPENDENT_OPENINGS.match(strip_fillers(sentence.text)))
    )


def _render_sentence(sentence: Sentence, language: str | None) -> str:
    text = strip_fillers(sentence.text) if language == "en" else sentence.text
    return capitalize_first(text)


#: Bytes of talk that are looked at: some four hours.
_MAX_BYTES: Final = 250_000
#: Its lists of words take a while to load.
_NOTES_MODULE: Final = "echoic.insights.rules.summary"


class RuleProvider:
    """Finds by rules and counts: what it gives is quoted, and what is not sure is left out."""

    name: Final = "rules"
    model: Final = "extractive"
    max_bytes: Final = _MAX_BYTES

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(1)

    def warm_up(self) -> None:
        """See ``Provider.load``."""
        import_module(_NOTES_MODULE)

    async def summarize(
        self,
        segments: Sequence[TranscriptSegment],
        stage: InsightStage,  # noqa: ARG002  # the Protocol's
    ) -> Findings:  # the Protocol's
        """See ``Provider.distil``; computed in a thread, one talk at a time."""
        async with self._semaphore:
            return await asyncio.to_thread(_find_in_segments, segments)

    async def close(self) -> None:
        """See ``Provider.close``."""


def _find_in_segments(segments: Sequence[TranscriptSegment]) -> Findings:
    found: Findings = notes(segments)
    return found
