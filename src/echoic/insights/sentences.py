"""A talk as sentences: by punctuation where the recogniser writes any, else by what clauses begin with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from echoic.insights.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echoic.insights.base import Said

#: Seconds without a final after which a sentence is over.
_PAUSE: Final = 1.0
#: One sentence end in so many words, at least, is punctuation; less is none.
_WORDS_PER_END: Final = 60
#: Words of a clause without punctuation before another may begin, and at most.
_SHORTEST_CLAUSE: Final = 5
_LONGEST_CLAUSE: Final = 28
#: Words of a sentence above which its punctuation is not believed.
_LONGEST_SENTENCE: Final = 80
_END: Final = re.compile(r"[.!?…]+[\"'”’)]?(?=\s|$)|[。！？]")  # noqa: RUF001  # as Chinese and Japanese write them
_QUOTES: Final = "\"'”’)"  # noqa: RUF001  # a typographer's
#: What ends with a full stop and no sentence.
_SHORT: Final = listed("abbreviations")
#: Words that begin a clause wherever they stand (English, as all that follows).
_MARKS: Final = listed("marks")
#: Words that begin one after some others.
_BEGINNERS: Final = listed("beginners")
#: Words that begin one where a word of the second list follows.
_PERHAPS: Final = listed("perhaps")
_FOLLOWERS: Final = listed("followers")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a clause where no punctuation tells.

    Attributes:
        text: As it was said.
        speaker: Who said it, or None.
        asks: It ends with a question mark.
        ends: It ends with punctuation.
    """

    text: str
    speaker: str | None = None
    asks: bool = False
    ends: bool = True

    @property
    def words(self) -> list[str]:
        """Its words."""
        return self.text.split()


def sentences(said: Sequence[Said]) -> list[Sentence]:
    """Return a talk's sentences in order; none goes over a change of speakers or a long pause."""
    turns = list(_turns(said))
    found: list[Sentence] = []
    ends = sum(len(_END.findall(text)) for text, _ in turns)
    by_marks = ends * _WORDS_PER_END >= sum(text.count(" ") + 1 for text, _ in turns)
    for text, speaker in turns:
        for piece in _by_marks(text) if by_marks else (text,):
            whole = by_marks and piece.count(" ") < _LONGEST_SENTENCE
            found += (_sentence(one, speaker) for one in ((piece,) if whole else _by_clauses(piece)) if one)
    return found


def _turns(said: Sequence[Said]) -> Iterator[tuple[str, str | None]]:
    """Yield what one speaker says without a pause, and who."""
    words: list[str] = []
    for number, one in enumerate(said):
        words += one.text.split()
        following = said[number + 1] if number + 1 < len(said) else None
        if following is None or following.speaker != one.speaker or following.start - one.end > _PAUSE:
            if words:
                yield " ".join(words), one.speaker
            words = []


def _sentence(text: str, speaker: str | None) -> Sentence:
    mark = text.rstrip(_QUOTES)[-1:]
    return Sentence(text, speaker, asks=mark in ("?", "？"), ends=bool(_END.search(text[-2:])))  # noqa: RUF001


def _by_marks(text: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(text):
        if end[0] == "." and _is_short(text[start : end.start()]):
            continue
        yield text[start : end.end()].strip()
        start = end.end()
    yield text[start:].strip()


def _is_short(before: str) -> bool:
    last = before.rpartition(" ")[2].lower().lstrip("(\"'")
    return last in _SHORT or (len(last) == 1 and last.isalpha() and last != "i")


def _by_clauses(text: str) -> Iterator[str]:
    clause: list[str] = []
    words = text.split()
    for place, word in enumerate(words):
        if clause and (_begins(words, place, clause) or len(clause) >= _LONGEST_CLAUSE):
            yield " ".join(clause)
            clause = []
        clause.append(word)
    yield " ".join(clause)


def _begins(words: Sequence[str], place: int, clause: Sequence[str]) -> bool:
    word = words[place].lower()
    if word in _MARKS:
        return clause[-1].lower() not in _MARKS
    if len(clause) < _SHORTEST_CLAUSE or clause[-1].lower() in _OPEN:
        return False
    following = words[place + 1].lower() if place + 1 < len(words) else ""
    return word in _BEGINNERS or (word in _PERHAPS and following in _FOLLOWERS)


#: Words after which a subject goes on with the clause and begins none (English).
_OPEN: Final = listed("open")
