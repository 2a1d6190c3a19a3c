"""Finals as turns: paragraphs, each of one who speaks. The page has the same rules in ``turns.js``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from echoic.wire.frames import Final, Word

#: Seconds of silence after which a paragraph ends.
PAUSE = 2.5
#: Characters after which it ends with a sentence, and anywhere.
LONG = 420
LONGEST = 1500
_SENTENCE_END = re.compile(r"[.?!…。？！][\"'”’)]*\Z")  # noqa: RUF001  # those of Chinese and Japanese


@dataclass(slots=True)
class _Part:
    """What one speaker says in a final."""

    text: str
    speaker: int | None
    label: str | None


@dataclass(slots=True)
class _Turn:
    speaker: int | None
    label: str | None
    texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(text) + 1 for text in self.texts)


def transcript(finals: Iterable[Final]) -> str:
    """Return the finals' texts joined, as ``full_transcript`` does."""
    return " ".join(final.text for final in finals if final.text)


def turns(finals: Iterable[Final]) -> list[str]:
    """Return what is said, a paragraph a turn: ``SPEAKER_00: …``, or without a name where nobody is known."""
    return [f"{speaker}: {text}" if speaker else text for speaker, text in spoken(finals)]


def spoken(finals: Iterable[Final]) -> list[tuple[str | None, str]]:
    """Return who says what, turn by turn; None: nobody knows.

    A turn ends where another speaks, after a pause, or when it is long. Words of which nobody could tell
    who said them belong to the turn they stand in.
    """
    found = [(_one_line(turn.label or ""), _one_line(" ".join(turn.texts))) for turn in _turns(finals)]
    return [(label or None, text) for label, text in found if text]


def _turns(finals: Iterable[Final]) -> list[_Turn]:
    found: list[_Turn] = []
    before: Final | None = None
    for final in finals:
        for part in _parts(final):
            if not found or _is_another(found[-1], part) or _ends(found[-1], before, final):
                found.append(_Turn(part.speaker, part.label))
            turn = found[-1]
            if turn.speaker is None:
                turn.speaker, turn.label = part.speaker, part.label
            turn.texts.append(part.text)
            before = final
    return found


def _is_another(turn: _Turn, part: _Part) -> bool:
    return part.speaker is not None and turn.speaker is not None and turn.speaker != part.speaker


def _ends(turn: _Turn, before: Final | None, final: Final) -> bool:
    if before is None or before is final:
        return False
    return (
        final.segment_start - before.segment_end > PAUSE
        or turn.size > LONGEST
        or (turn.size > LONG and _SENTENCE_END.search(turn.texts[-1]) is not None)
    )


def _parts(final: Final) -> Iterator[_Part]:
    """Yield the words of a final by who says them."""
    own = None if final.speaker_id is UNSET else final.speaker_id
    words = () if final.words is UNSET else final.words

    def speaker_of(word: Word) -> int | None:
        return own if word.speaker_id is UNSET else word.speaker_id

    def labelled(text: str, speaker: int | None) -> _Part:
        if speaker == own and final.speaker_label is not UNSET:
            return _Part(text, speaker, final.speaker_label)
        return _Part(text, speaker, None if speaker is None else label_of(speaker))

    speakers = {speaker_of(word) for word in words} or {own}
    if len(speakers) == 1:
        if final.text:
            yield labelled(final.text, *speakers)
        return
    for speaker, said in groupby(words, speaker_of):
        yield labelled(" ".join(word.word for word in said), speaker)


def label_of(speaker: int) -> str:
    """Return the protocol's label of a speaker."""
    return f"SPEAKER_{speaker:02}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
