"""Splits a transcript into sentences: at punctuation, or else at words that start clauses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from echoic.insights.base import TranscriptSegment
from echoic.insights.rules.word_lists import read_word_set

#: A pause of more seconds between two finals ends a sentence.
_MAX_PAUSE_SECONDS: Final = 1.0
#: A transcript is punctuated if it has at least one sentence end per this many words.
_MAX_WORDS_PER_END: Final = 60
#: The length of a clause in a transcript without punctuation.
_MIN_CLAUSE_WORDS: Final = 5
_MAX_CLAUSE_WORDS: Final = 28
#: A longer sentence is split into clauses: its punctuation is incomplete.
_MAX_SENTENCE_WORDS: Final = 80
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'”’)]?(?=\s|$)|[。！？]")  # noqa: RUF001  # Chinese and Japanese
_CLOSING_QUOTES: Final = "\"'”’)"  # noqa: RUF001  # typographic ones
_QUESTION_MARKS: Final = ("?", "？")  # noqa: RUF001  # the second is Chinese and Japanese
_ABBREVIATIONS: Final = read_word_set("abbreviations")
#: Words that always start a clause (English, like the following lists).
_CLAUSE_STARTERS: Final = read_word_set("clause_starters")
#: Words that start a clause after ``_MIN_CLAUSE_WORDS``.
_SUBJECT_STARTERS: Final = read_word_set("subject_starters")
#: Words that do so only before one of ``_STARTER_FOLLOWERS``.
_CONDITIONAL_STARTERS: Final = read_word_set("conditional_starters")
_STARTER_FOLLOWERS: Final = read_word_set("starter_followers")
#: Words after which the clause continues.
_CLAUSE_CONTINUERS: Final = read_word_set("clause_continuers")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a clause of a transcript without punctuation."""

    text: str
    #: The speaker's label, or None if unknown.
    speaker: str | None = None
    is_question: bool = False
    #: Whether the text ends with punctuation.
    has_end_mark: bool = True

    @property
    def words(self) -> list[str]:
        """The words of the text."""
        return self.text.split()


def split_sentences(segments: Sequence[TranscriptSegment]) -> list[Sentence]:
    """Split a transcript into sentences, in order; none spans a change of speakers or a long pause."""
    turns = list(_iterate_turns(segments))
    sentences: list[Sentence] = []
    end_count = sum(len(_SENTENCE_END.findall(text)) for text, _ in turns)
    is_punctuated = end_count * _MAX_WORDS_PER_END >= sum(text.count(" ") + 1 for text, _ in turns)
    for text, speaker in turns:
        for part in _split_by_punctuation(text) if is_punctuated else (text,):
            is_sentence = is_punctuated and part.count(" ") < _MAX_SENTENCE_WORDS
            clauses = (part,) if is_sentence else _split_by_clauses(part)
            sentences += (_build_sentence(clause, speaker) for clause in clauses if clause)
    return sentences


def _iterate_turns(segments: Sequence[TranscriptSegment]) -> Iterator[tuple[str, str | None]]:
    """Yield the uninterrupted text of one speaker, and the speaker's label."""
    words: list[str] = []
    for index, segment in enumerate(segments):
        words += segment.text.split()
        following = segments[index + 1] if index + 1 < len(segments) else None
        if (
            following is None
            or following.speaker != segment.speaker
            or following.start - segment.end > _MAX_PAUSE_SECONDS
        ):
            if words:
                yield " ".join(words), segment.speaker
            words = []


def _build_sentence(text: str, speaker: str | None) -> Sentence:
    end_mark = text.rstrip(_CLOSING_QUOTES)[-1:]
    return Sentence(
        text,
        speaker,
        is_question=end_mark in _QUESTION_MARKS,
        has_end_mark=bool(_SENTENCE_END.search(text[-2:])),
    )


def _split_by_punctuation(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end[0] == "." and _ends_with_abbreviation(text[start : end.start()]):
            continue
        yield text[start : end.end()].strip()
        start = end.end()
    yield text[start:].strip()


def _ends_with_abbreviation(text: str) -> bool:
    last = text.rpartition(" ")[2].lower().lstrip("(\"'")
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last != "i")


def _split_by_clauses(text: str) -> Iterator[str]:
    clause: list[str] = []
    words = text.split()
    for index, word in enumerate(words):
        if clause and (_starts_clause(words, index, clause) or len(clause) >= _MAX_CLAUSE_WORDS):
            yield " ".join(clause)
            clause = []
        clause.append(word)
    yield " ".join(clause)


def _starts_clause(words: Sequence[str], index: int, clause: Sequence[str]) -> bool:
    """Return whether a word starts a clause after the words of ``clause``."""
    word = words[index].lower()
    if word in _CLAUSE_STARTERS:
        return clause[-1].lower() not in _CLAUSE_STARTERS
    if len(clause) < _MIN_CLAUSE_WORDS or clause[-1].lower() in _CLAUSE_CONTINUERS:
        return False
    following = words[index + 1].lower() if index + 1 < len(words) else ""
    return word in _SUBJECT_STARTERS or (word in _CONDITIONAL_STARTERS and following in _STARTER_FOLLOWERS)
