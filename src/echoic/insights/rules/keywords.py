"""What a talk is about, by counting its words: topics, and the sentences that say most of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final

import stopwordsiso

from echoic.insights.rules.sentences import Sentence
from echoic.insights.rules.word_lists import read_word_set

_WORD_PATTERN: Final = re.compile(r"[^\W_]+(?:['’\-.+#][^\W_]+)*[+#]*")  # noqa: RUF001  # a typographer's apostrophe
#: Scripts that put no space between words: they are not counted.
_UNSPACED_SCRIPTS: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
#: Words from which the language is told.
_LANGUAGE_SAMPLE_WORDS: Final = 3000
#: The share of them that must be among the language's own.
_MIN_LANGUAGE_SHARE: Final = 0.2
_LONG_LIST_WORDS: Final = 8000
_ENGLISH_FACTOR: Final = 1.25

#: Words that the list for English holds and talks may be about.
_ENGLISH_TOPIC_WORDS: Final = read_word_set("weighty")
#: Words that say nothing of what a talk is about, beside those of the lists (English, as spoken).
_SPOKEN_STOP_WORDS: Final = read_word_set("hollow")
_MIN_WORD_LENGTH: Final = 3
#: What a plural in "es" ends with.
_ES_PLURAL_ENDINGS: Final = ("ches", "shes", "sses", "xes")
_MAX_PHRASE_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class SentenceWords:
    """A sentence's words in small letters, each empty where it says nothing of what the talk is about."""

    spoken: tuple[str, ...]
    topic_words: tuple[str, ...]


class KeywordCounts:
    """Counts the words of a talk, in whatever language it is.

    Args:
        sentences: The talk.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentence_words = [tuple(_WORD_PATTERN.findall(sentence.text)) for sentence in sentences]
        everything = (word.lower() for words in self._sentence_words for word in words)
        #: The language by its two letters, or None: it is not known.
        self.language = _detect_language(list(islice(everything, _LANGUAGE_SAMPLE_WORDS)))
        self._stop_words = _find_stop_words(self.language)
        #: Whether the script puts spaces between words.
        self.is_spaced = sum(bool(_UNSPACED_SCRIPTS.search(one.text)) for one in sentences) * 2 <= len(
            sentences
        )

    @property
    def word_count(self) -> int:
        """All words."""
        return sum(map(len, self._sentence_words))

    @cached_property
    def stem_counts(self) -> Counter[str]:
        """How often each weighty word is said; singular and plural are one."""
        return Counter(stem for words in self._sentence_words for stem in self._find_stems(words) if stem)

    def find_topics(self, max_topics: int, excluded: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the phrases that the talk comes back to, the weightiest first.

        Args:
            max_topics: How many at most.
            excluded: Words that are none, such as the names of those who talk.
        """
        if not self.is_spaced:
            return ()
        left_out = {_stem_word(word.lower()) for word in excluded}
        phrases: Counter[tuple[str, ...]] = Counter()
        forms: dict[tuple[str, ...], Counter[str]] = {}
        for words in self._sentence_words:
            for phrase, form in _iterate_phrases(words, self._find_stems(words)):
                if not left_out.intersection(phrase):
                    phrases[phrase] += 1
                    forms.setdefault(phrase, Counter())[form] += 1
        chosen = _choose_phrases(phrases, max_topics, 2 if self.word_count < _LONG_TALK_WORDS else 3)
        return tuple(_choose_spelling(forms[phrase]) for phrase in chosen)

    def weigh_words(self, index: int) -> dict[str, float]:
        """Return how much each weighty word of a sentence says of the talk."""
        return {
            stem: float(self.stem_counts[stem])
            for stem in self._find_stems(self._sentence_words[index])
            if stem
        }

    def _find_stems(self, words: Sequence[str]) -> list[str]:
        stems = [_stem_word(word.lower()) if self._is_topic_word(word.lower()) else "" for word in words]
        for place in range(1, len(words) - 1):  # a name's part, as in "New Jersey", is not hollow
            if words[place].istitle() and words[place + 1].istitle() and stems[place + 1]:
                stems[place] = stems[place] or _stem_word(words[place].lower())
        return stems

    def _is_topic_word(self, word: str) -> bool:
        plain = word.replace("’", "'")  # noqa: RUF001  # a typographer's apostrophe
        return (
            len(plain) >= _MIN_WORD_LENGTH
            and plain not in self._stop_words
            and "'" not in plain
            and not plain[0].isdigit()
        )


#: Words above which a topic has to come back more often.
_LONG_TALK_WORDS: Final = 1500


def _detect_language(words: Sequence[str]) -> str | None:
    said = Counter(words)
    best, share = None, _MIN_LANGUAGE_SHARE * len(words)
    for language in stopwordsiso.langs():
        known = stopwordsiso.stopwords(language)
        count = sum(times for word, times in said.items() if word in known)
        # A long list holds other languages' words too; where little is said, English is more likely.
        likely = count / (1 + len(known) / _LONG_LIST_WORDS) * (_ENGLISH_FACTOR if language == "en" else 1)
        if likely > share:
            best, share = language, likely
    return best


def _find_stop_words(language: str | None) -> frozenset[str]:
    if language is None:
        return _SPOKEN_STOP_WORDS
    words = frozenset(stopwordsiso.stopwords(language))
    return (words - _ENGLISH_TOPIC_WORDS) | _SPOKEN_STOP_WORDS if language == "en" else words


def _stem_word(word: str) -> str:
    """Return a word without the ending of a plural, roughly."""
    if len(word) > _MIN_WORD_LENGTH and word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(_ES_PLURAL_ENDINGS):
        return word[:-2]
    return (
        word[:-1]
        if len(word) > _MIN_WORD_LENGTH and word.endswith("s") and not word.endswith(("ss", "us"))
        else word
    )


def _iterate_phrases(words: Sequence[str], stems: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for start in range(len(words)):
        for end in range(start + 1, min(start + _MAX_PHRASE_WORDS, len(words)) + 1):
            if not stems[end - 1]:
                break
            yield tuple(stems[start:end]), " ".join(words[start:end])


def _choose_phrases(
    phrases: Counter[tuple[str, ...]], max_phrases: int, min_count: int
) -> list[tuple[str, ...]]:
    """Return the best phrases, none of them within another."""
    # A word alone says less than two together, and has to come back more often.
    scores = {
        phrase: count * (1 + 0.75 * (len(phrase) - 1))
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


def _choose_spelling(forms: Counter[str]) -> str:
    """Return the commonest form; in small letters unless its capitals are its own."""
    small: Counter[str] = Counter()
    for form, count in forms.items():
        small[form.lower()] += count
    best = small.most_common(1)[0][0]
    capital = next((form for form, _ in forms.most_common() if form.lower() == best), best)
    return best if best in forms else capital
