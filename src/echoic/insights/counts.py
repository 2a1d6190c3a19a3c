"""What a talk is about, by counting its words: topics, and the sentences that say most of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final

import stopwordsiso

from echoic.insights.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from echoic.insights.sentences import Sentence

_WORD: Final = re.compile(r"[^\W_]+(?:['’\-.+#][^\W_]+)*[+#]*")  # noqa: RUF001  # a typographer's apostrophe
#: Scripts that put no space between words: they are not counted.
_UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
#: Words from which the language is told.
_SAMPLE: Final = 3000
#: The share of them that must be among the language's own.
_SURE: Final = 0.2
_LONG_LIST: Final = 8000
_ENGLISH: Final = 1.25

#: Words that the list for English holds and talks may be about.
_WEIGHTY: Final = listed("weighty")
#: Words that say nothing of what a talk is about, beside those of the lists (English, as spoken).
_HOLLOW: Final = listed("hollow")
_SHORTEST_WORD: Final = 3
#: What a plural in "es" ends with.
_HISSING: Final = ("ches", "shes", "sses", "xes")
_LONGEST_PHRASE: Final = 3


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence's words in small letters, each empty where it says nothing of what the talk is about."""

    spoken: tuple[str, ...]
    weighty: tuple[str, ...]


class Counts:
    """Counts the words of a talk, in whatever language it is.

    Args:
        sentences: The talk.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._spoken = [tuple(_WORD.findall(sentence.text)) for sentence in sentences]
        everything = (word.lower() for words in self._spoken for word in words)
        #: The language by its two letters, or None: it is not known.
        self.language = _language(list(islice(everything, _SAMPLE)))
        self._hollow = _hollow(self.language)
        #: Whether the script puts spaces between words.
        self.is_spaced = sum(bool(_UNSPACED.search(one.text)) for one in sentences) * 2 <= len(sentences)

    @property
    def total(self) -> int:
        """All words."""
        return sum(map(len, self._spoken))

    @cached_property
    def stems(self) -> Counter[str]:
        """How often each weighty word is said; singular and plural are one."""
        return Counter(stem for words in self._spoken for stem in self._stems(words) if stem)

    def topics(self, most: int, but: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the phrases that the talk comes back to, the weightiest first.

        Args:
            most: How many at most.
            but: Words that are none, such as the names of those who talk.
        """
        if not self.is_spaced:
            return ()
        left_out = {_stem(word.lower()) for word in but}
        phrases: Counter[tuple[str, ...]] = Counter()
        forms: dict[tuple[str, ...], Counter[str]] = {}
        for words in self._spoken:
            for phrase, form in _phrases(words, self._stems(words)):
                if not left_out.intersection(phrase):
                    phrases[phrase] += 1
                    forms.setdefault(phrase, Counter())[form] += 1
        chosen = _chosen(phrases, most, 2 if self.total < _LONG_TALK else 3)
        return tuple(_written(forms[phrase]) for phrase in chosen)

    def weights(self, place: int) -> dict[str, float]:
        """Return how much each weighty word of a sentence says of the talk."""
        return {stem: float(self.stems[stem]) for stem in self._stems(self._spoken[place]) if stem}

    def _stems(self, words: Sequence[str]) -> list[str]:
        stems = [_stem(word.lower()) if self._is_weighty(word.lower()) else "" for word in words]
        for place in range(1, len(words) - 1):  # a name's part, as in "New Jersey", is not hollow
            if words[place].istitle() and words[place + 1].istitle() and stems[place + 1]:
                stems[place] = stems[place] or _stem(words[place].lower())
        return stems

    def _is_weighty(self, word: str) -> bool:
        plain = word.replace("’", "'")  # noqa: RUF001  # a typographer's apostrophe
        return (
            len(plain) >= _SHORTEST_WORD
            and plain not in self._hollow
            and "'" not in plain
            and not plain[0].isdigit()
        )


#: Words above which a topic has to come back more often.
_LONG_TALK: Final = 1500


def _language(words: Sequence[str]) -> str | None:
    said = Counter(words)
    best, share = None, _SURE * len(words)
    for language in stopwordsiso.langs():
        known = stopwordsiso.stopwords(language)
        count = sum(times for word, times in said.items() if word in known)
        # A long list holds other languages' words too; where little is said, English is more likely.
        likely = count / (1 + len(known) / _LONG_LIST) * (_ENGLISH if language == "en" else 1)
        if likely > share:
            best, share = language, likely
    return best


def _hollow(language: str | None) -> frozenset[str]:
    if language is None:
        return _HOLLOW
    words = frozenset(stopwordsiso.stopwords(language))
    return (words - _WEIGHTY) | _HOLLOW if language == "en" else words


def _stem(word: str) -> str:
    """Return a word without the ending of a plural, roughly."""
    if len(word) > _SHORTEST_WORD and word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(_HISSING):
        return word[:-2]
    return (
        word[:-1]
        if len(word) > _SHORTEST_WORD and word.endswith("s") and not word.endswith(("ss", "us"))
        else word
    )


def _phrases(words: Sequence[str], stems: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST_PHRASE, len(words)) + 1):
            if not stems[end - 1]:
                break
            yield tuple(stems[start:end]), " ".join(words[start:end])


def _chosen(phrases: Counter[tuple[str, ...]], most: int, least: int) -> list[tuple[str, ...]]:
    """Return the best phrases, none of them within another."""
    # A word alone says less than two together, and has to come back more often.
    scores = {
        phrase: count * (1 + 0.75 * (len(phrase) - 1))
        for phrase, count in phrases.items()
        if count >= (least if len(phrase) > 1 else least + 1)
    }
    chosen: list[tuple[str, ...]] = []
    for phrase in sorted(scores, key=lambda one: (-scores[one], one)):
        if len(chosen) >= most:
            break
        if not any(set(phrase) & set(other) for other in chosen):
            chosen.append(phrase)
    return chosen


def _written(forms: Counter[str]) -> str:
    """Return the commonest form; in small letters unless its capitals are its own."""
    small: Counter[str] = Counter()
    for form, count in forms.items():
        small[form.lower()] += count
    best = small.most_common(1)[0][0]
    capital = next((form for form, _ in forms.most_common() if form.lower() == best), best)
    return best if best in forms else capital
