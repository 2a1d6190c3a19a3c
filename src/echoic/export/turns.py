"""Finals as turns: paragraphs, each of one who speaks. The page has the same rules in ``turns.js``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from msgspec import UNSET

from echoic.protocol.constants import to_speaker_label
from echoic.protocol.frames import Final, Word

#: Seconds of silence after which a paragraph ends.
TURN_PAUSE_SECONDS = 2.5
#: Characters after which it ends with a sentence, and anywhere.
#: Of more than the former nobody is taken to be the speaker who is not told.
LONG_TURN_CHARACTERS = 420
MAX_TURN_CHARACTERS = 1500
_SENTENCE_END_PATTERN = re.compile(r"[.?!…。？！][\"'”’)]*\Z")  # noqa: RUF001  # those of Chinese and Japanese
#: Words whose full stop ends no sentence, and initials; "I." is seldom one.
_ABBREVIATION_PATTERN = re.compile(r"(?<![\w.])(?:Mr|Mrs|Ms|Dr|St|Prof|vs|[A-HJ-Z])\.\Z")
_NUMBER_ABBREVIATION_PATTERN = re.compile(r"(?<![\w.])No\.\Z")


@dataclass(slots=True)
class _SpeakerPart:
    """What one speaker says in a final."""

    text: str
    speaker: int | None
    label: str | None


@dataclass(slots=True)
class _Paragraph:
    speaker: int | None
    label: str | None
    #: Who spoke just before; one of whom nobody is known goes on in that turn if the same speaks next.
    previous_speaker: int | None = None
    texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(text) + 1 for text in self.texts)


def join_transcript(finals: Iterable[Final]) -> str:
    """Return the finals' texts joined, as ``full_transcript`` does."""
    return " ".join(final.text for final in finals if final.text)


def render_turns(finals: Iterable[Final]) -> list[str]:
    """Return what is said, a paragraph a turn: ``SPEAKER_00: …``, or without a name where nobody is known."""
    return [f"{speaker}: {text}" if speaker else text for speaker, text in collect_turns(finals)]


def collect_turns(finals: Iterable[Final]) -> list[tuple[str | None, str]]:
    """Return who says what, turn by turn; None: nobody knows.

    A turn ends where another speaks, after a pause, or when it is long. A few words of which nobody could
    tell who said them go on in a turn where the same speaks before and after them; else they are one alone.
    """
    found = [
        (_collapse_whitespace(turn.label or ""), _collapse_whitespace(" ".join(turn.texts)))
        for turn in _build_paragraphs(finals)
    ]
    return [(label or None, text) for label, text in found if text]


def ends_sentence(text: str, following: str = "") -> bool:
    """Return whether a sentence ends with a text; "No." does not where a number is following."""
    if _SENTENCE_END_PATTERN.search(text) is None or _ABBREVIATION_PATTERN.search(text):
        return False
    return not (following[:1].isdecimal() and _NUMBER_ABBREVIATION_PATTERN.search(text))


def _build_paragraphs(finals: Iterable[Final]) -> list[_Paragraph]:
    found: list[_Paragraph] = []
    before: Final | None = None
    for final in finals:
        for part in _split_by_speaker(final):
            _append_part(found, part, None if before is final else before, final)
            before = final
    return found


def _append_part(found: list[_Paragraph], part: _SpeakerPart, before: Final | None, final: Final) -> None:
    """Add a part to the last turn or to one of its own; ``before``: None within a final."""
    paused = before is not None and final.segment_start - before.segment_end > TURN_PAUSE_SECONDS
    if found and not paused and _continues_turn(found[-1], part):
        texts = found.pop().texts
        found[-1].texts += texts
    last = found[-1] if found else None
    if last is None or last.speaker != part.speaker or paused or (before and _is_full(last, part)):
        heir = last.speaker if last and part.speaker is None and not paused else None
        found.append(_Paragraph(part.speaker, part.label, heir))
    found[-1].texts.append(part.text)


def _continues_turn(turn: _Paragraph, part: _SpeakerPart) -> bool:
    """Return whether a turn of nobody known is of who speaks before it and in the part."""
    is_open = turn.speaker is None and turn.previous_speaker is not None
    return is_open and turn.previous_speaker == part.speaker and turn.size <= LONG_TURN_CHARACTERS


def _is_full(turn: _Paragraph, part: _SpeakerPart) -> bool:
    return turn.size > MAX_TURN_CHARACTERS or (
        turn.size > LONG_TURN_CHARACTERS and ends_sentence(turn.texts[-1], part.text)
    )


def _split_by_speaker(final: Final) -> Iterator[_SpeakerPart]:
    """Yield the words of a final by who says them."""
    own = None if final.speaker_id is UNSET else final.speaker_id
    words = () if final.words is UNSET else final.words

    def speaker_of(word: Word) -> int | None:
        return own if word.speaker_id is UNSET else word.speaker_id

    def labelled(text: str, speaker: int | None) -> _SpeakerPart:
        if speaker == own and final.speaker_label is not UNSET:
            return _SpeakerPart(text, speaker, final.speaker_label)
        return _SpeakerPart(text, speaker, None if speaker is None else to_speaker_label(speaker))

    speakers = {speaker_of(word) for word in words} or {own}
    if len(speakers) == 1:
        if final.text:
            yield labelled(final.text, *speakers)
        return
    for speaker, said in groupby(words, speaker_of):
        yield labelled(" ".join(word.word for word in said), speaker)


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
