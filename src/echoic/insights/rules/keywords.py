"""Counts the words of a talk: its topics, and the weight of its sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

import stopwordsiso

from echoic.insights.rules.sentences import Sentence
from echoic.insights.rules.word_lists import read_word_set

_WORD_PATTERN: Final = re.compile(r"[^\W_]+(?:['’\-.+#][^\W_]+)*[+#]*")  # noqa: RUF001  # a typographic apostrophe
#: Scripts without spaces between words (Thai to Khmer, kana, Han): their words are not counted.
_UNSPACED_SCRIPTS: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
#: The number of words that the language is detected from.
_LANGUAGE_SAMPLE_WORDS: Final = 3000
#: The minimum share of stop words of the detected language.
_MIN_LANGUAGE_SHARE: Final = 0.2
#: A stop word list of this length counts half: long lists hold words of other languages too.
_LONG_LIST_WORDS: Final = 8000
#: The preference for English where there is little text.
_ENGLISH_FACTOR: Final = 1.25
_ENGLISH_TOPIC_WORDS: Final = read_word_set("topic_words")
_SPOKEN_STOP_WORDS: Final = read_word_set("spoken_stop_words")
_MIN_WORD_LENGTH: Final = 3
_ES_PLURAL_ENDINGS: Final = ("ches", "shes", "sses", "xes")
_MAX_PHRASE_WORDS: Final = 3
#: The minimum count of a phrase; a single word needs one more, and so does every phrase of a long talk.
_MIN_PHRASE_COUNT: Final = 2
_LONG_TALK_WORDS: Final = 1500
#: By how much each further word of a phrase raises its score.
_PHRASE_FACTOR: Final = 0.75


class KeywordCounts:
    """Word counts of a talk, in any language.

    Args:
        sentences: The talk.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentence_words = [tuple(_WORD_PATTERN.findall(sentence.text)) for sentence in sentences]
        all_words = (word.lower() for words in self._sentence_words for word in words)
        #: The language as ISO 639-1, or None if unknown.
        self.language = _detect_language(list(islice(all_words, _LANGUAGE_SAMPLE_WORDS)))
        self._stop_words = _find_stop_words(self.language)
        unspaced_count = sum(bool(_UNSPACED_SCRIPTS.search(sentence.text)) for sentence in sentences)
        #: Whether the script has spaces between words.
        self.is_spaced = unspaced_count * 2 <= len(sentences)

    @property
    def word_count(self) -> int:
        """The number of words, stop words included."""
        return sum(map(len, self._sentence_words))

    @cached_property
    def stem_counts(self) -> Counter[str]:
        """The count of each topic word; singular and plural are one."""
        return Counter(stem for words in self._sentence_words for stem in self._find_stems(words) if stem)

    def find_topics(self, max_topics: int) -> tuple[str, ...]:
        """Return the most frequent phrases, at most ``max_topics``, the best first."""
        if not self.is_spaced:
            return ()
        phrases: Counter[tuple[str, ...]] = Counter()
        spellings: dict[tuple[str, ...], Counter[str]] = {}
        for words in self._sentence_words:
            for phrase, spelling in _iterate_phrases(words, self._find_stems(words)):
                phrases[phrase] += 1
                spellings.setdefault(phrase, Counter())[spelling] += 1
        min_count = _MIN_PHRASE_COUNT + (self.word_count >= _LONG_TALK_WORDS)
        return tuple(
            _choose_spelling(spellings[phrase]) for phrase in _choose_phrases(phrases, max_topics, min_count)
        )

    def count_stems(self, index: int) -> dict[str, int]:
        """Return the topic words of the sentence at ``index``, with their counts in the talk."""
        stems = self._find_stems(self._sentence_words[index])
        return {stem: self.stem_counts[stem] for stem in stems if stem}

    def _find_stems(self, words: Sequence[str]) -> list[str]:
        """Return the stem of each word, or "" for a stop word."""
        stems = [_stem_word(word.lower()) if self._is_topic_word(word.lower()) else "" for word in words]
        for index in range(1, len(words) - 1):  # part of a name, as in "New Jersey", is not a stop word
            if words[index].istitle() and words[index + 1].istitle() and stems[index + 1]:
                stems[index] = stems[index] or _stem_word(words[index].lower())
        return stems

    def _is_topic_word(self, word: str) -> bool:
        plain = word.replace("’", "'")  # noqa: RUF001  # a typographic apostrophe
        return (
            len(plain) >= _MIN_WORD_LENGTH
            and plain not in self._stop_words
            and "'" not in plain
            and not plain[0].isdigit()
        )


def _detect_language(words: Sequence[str]) -> str | None:
    counts = Counter(words)
    best, best_score = None, _MIN_LANGUAGE_SHARE * len(words)
    for language in sorted(stopwordsiso.langs()):
        stop_words = stopwordsiso.stopwords(language)
        score: float = sum(count for word, count in counts.items() if word in stop_words)
        score /= 1 + len(stop_words) / _LONG_LIST_WORDS
        score *= _ENGLISH_FACTOR if language == "en" else 1
        if score > best_score:
            best, best_score = language, score
    return best


def _find_stop_words(language: str | None) -> frozenset[str]:
    if language is None:
        return _SPOKEN_STOP_WORDS
    words = frozenset(stopwordsiso.stopwords(language))
    return (words - _ENGLISH_TOPIC_WORDS) | _SPOKEN_STOP_WORDS if language == "en" else words


def _stem_word(word: str) -> str:
    """Return a word without an English plural ending, roughly."""
    if len(word) > _MIN_WORD_LENGTH and word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(_ES_PLURAL_ENDINGS):
        return word[:-2]
    is_plural = len(word) > _MIN_WORD_LENGTH and word.endswith("s") and not word.endswith(("ss", "us"))
    return word[:-1] if is_plural else word


def _iterate_phrases(words: Sequence[str], stems: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the stems and the spelling of each phrase without stop words."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + _MAX_PHRASE_WORDS, len(words)) + 1):
            if not stems[end - 1]:
                break
            yield tuple(stems[start:end]), " ".join(words[start:end])


def _choose_phrases(
    phrases: Counter[tuple[str, ...]], max_phrases: int, min_count: int
) -> list[tuple[str, ...]]:
    """Return the best phrases; no two share a word."""
    scores = {
        phrase: count * (1 + _PHRASE_FACTOR * (len(phrase) - 1))
        for phrase, count in phrases.items()
        if count >= (min_count if len(phrase) > 1 else min_count + 1)
    }
    chosen: list[tuple[str, ...]] = []
    for phrase in sorted(scores, key=lambda one: (-scores[one], one)):
        if len(chosen) >= max_phrases:
            break
        if not any(set(phrase) & set(other) for other in chosen):
            chosen.append(phrase)
    return chosen


def _choose_spelling(spellings: Counter[str]) -> str:
    """Return the most frequent spelling, in lower case unless it always has capitals."""
    lower: Counter[str] = Counter()
    for spelling, count in spellings.items():
        lower[spelling.lower()] += count
    best = lower.most_common(1)[0][0]
    capitalized = next((one for one, _ in spellings.most_common() if one.lower() == best), best)
    return best if best in spellings else capitalized
