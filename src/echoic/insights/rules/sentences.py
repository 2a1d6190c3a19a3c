"""A talk as sentences: by punctuation where the recogniser writes any, else by what clauses begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from echoic.insights.base import TranscriptSegment
from echoic.insights.rules.word_lists import read_word_set

#: Seconds without a final after which a sentence is over.
_MAX_PAUSE_SECONDS: Final = 1.0
#: One sentence end in so many words, at least, is punctuation; less is none.
_MAX_WORDS_PER_END: Final = 60
#: Words of a clause without punctuation before another may begin, and at most.
_MIN_CLAUSE_WORDS: Final = 5
_MAX_CLAUSE_WORDS: Final = 28
#: Words of a sentence above which its punctuation is not believed.
_MAX_SENTENCE_WORDS: Final = 80
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'”’)]?(?=\s|$)|[。！？]")  # noqa: RUF001  # as Chinese and Japanese write them
_QUOTES: Final = "\"'”’)"  # noqa: RUF001  # a typographer's
#: What ends with a full stop and no sentence.
_ABBREVIATIONS: Final = read_word_set("abbreviations")
#: Words that begin a clause wherever they stand (English, as all that follows).
_CLAUSE_STARTERS: Final = read_word_set("marks")
#: Words that begin one after some others.
_SUBJECT_STARTERS: Final = read_word_set("beginners")
#: Words that begin one where a word of the second list follows.
_CONDITIONAL_STARTERS: Final = read_word_set("perhaps")
_STARTER_FOLLOWERS: Final = read_word_set("followers")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a clause where no punctuation tells.

    Attributes:
        text: As it was said.
        speaker: Who said it, or None.
        is_question: It ends with a question mark.
        has_end_mark: It ends with punctuation.
    """

    text: str
    speaker: str | None = None
    is_question: bool = False
    has_end_mark: bool = True

    @property
    def words(self) -> list[str]:
        """Its words."""
        return self.text.split()


def split_sentences(segments: Sequence[TranscriptSegment]) -> list[Sentence]:
    """Return a talk's sentences in order; none goes over a change of speakers or a long pause."""
    turns = list(_iterate_turns(segments))
    found: list[Sentence] = []
    ends = sum(len(_SENTENCE_END.findall(text)) for text, _ in turns)
    by_marks = ends * _MAX_WORDS_PER_END >= sum(text.count(" ") + 1 for text, _ in turns)
    for text, speaker in turns:
        for piece in _split_by_punctuation(text) if by_marks else (text,):
            whole = by_marks and piece.count(" ") < _MAX_SENTENCE_WORDS
            found += (
                _build_sentence(one, speaker)
                for one in ((piece,) if whole else _split_by_clauses(piece))
                if one
            )
    return found


def _iterate_turns(segments: Sequence[TranscriptSegment]) -> Iterator[tuple[str, str | None]]:
    """Yield what one speaker says without a pause, and who."""
    words: list[str] = []
    for number, one in enumerate(segments):
        words += one.text.split()
        following = segments[number + 1] if number + 1 < len(segments) else None
        if (
            following is None
            or following.speaker != one.speaker
            or following.start - one.end > _MAX_PAUSE_SECONDS
        ):
            if words:
                yield " ".join(words), one.speaker
            words = []


def _build_sentence(text: str, speaker: str | None) -> Sentence:
    mark = text.rstrip(_QUOTES)[-1:]
    return Sentence(
        text, speaker, is_question=mark in ("?", "？"), has_end_mark=bool(_SENTENCE_END.search(text[-2:]))
    )


def _split_by_punctuation(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end[0] == "." and _is_abbreviation(text[start : end.start()]):
            continue
        yield text[start : end.end()].strip()
        start = end.end()
    yield text[start:].strip()


def _is_abbreviation(before: str) -> bool:
    last = before.rpartition(" ")[2].lower().lstrip("(\"'")
    return last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last != "i")


def _split_by_clauses(text: str) -> Iterator[str]:
    clause: list[str] = []
    words = text.split()
    for place, word in enumerate(words):
        if clause and (_starts_clause(words, place, clause) or len(clause) >= _MAX_CLAUSE_WORDS):
            yield " ".join(clause)
            clause = []
        clause.append(word)
    yield " ".join(clause)


def _starts_clause(words: Sequence[str], index: int, clause: Sequence[str]) -> bool:
    word = words[index].lower()
    if word in _CLAUSE_STARTERS:
        return clause[-1].lower() not in _CLAUSE_STARTERS
    if len(clause) < _MIN_CLAUSE_WORDS or clause[-1].lower() in _CLAUSE_CONTINUERS:
        return False
    following = words[index + 1].lower() if index + 1 < len(words) else ""
    return word in _SUBJECT_STARTERS or (word in _CONDITIONAL_STARTERS and following in _STARTER_FOLLOWERS)


#: Words after which a subject goes on with the clause and begins none (English).
_CLAUSE_CONTINUERS: Final = read_word_set("open")
