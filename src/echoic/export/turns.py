"""Groups finals into turns: paragraphs of one speaker each. The page has the same rules in ``turns.js``."""

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
#: Characters after which a paragraph ends with a sentence, and after which it ends anywhere. A turn without
#: a speaker joins its neighbours only up to the former.
LONG_TURN_CHARACTERS = 420
MAX_TURN_CHARACTERS = 1500
_SENTENCE_END_PATTERN = re.compile(r"[.?!…。？！][\"'”’)]*\Z")  # noqa: RUF001  # those of Chinese and Japanese
#: Abbreviations and initials, whose full stop ends no sentence; "I." is seldom an initial.
_ABBREVIATION_PATTERN = re.compile(r"(?<![\w.])(?:Mr|Mrs|Ms|Dr|St|Prof|vs|[A-HJ-Z])\.\Z")
_NUMBER_ABBREVIATION_PATTERN = re.compile(r"(?<![\w.])No\.\Z")


@dataclass(slots=True)
class _SpeakerPart:
    """Words of one speaker in a final."""

    text: str
    speaker: int | None
    label: str | None


@dataclass(slots=True)
class _Paragraph:
    speaker: int | None
    label: str | None
    #: The speaker just before a turn without a speaker, which joins that turn if the same speaker follows.
    previous_speaker: int | None = None
    texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(text) + 1 for text in self.texts)


def join_transcript(finals: Iterable[Final]) -> str:
    """Return the texts of finals joined by spaces, as in ``full_transcript``."""
    return " ".join(final.text for final in finals if final.text)


def render_turns(finals: Iterable[Final]) -> list[str]:
    """Return a paragraph for each turn: ``SPEAKER_00: …``, or only the text if the speaker is unknown."""
    return [f"{speaker}: {text}" if speaker else text for speaker, text in collect_turns(finals)]


def collect_turns(finals: Iterable[Final]) -> list[tuple[str | None, str]]:
    """Return the speaker's label (None if unknown) and the text of each turn.

    A turn ends where another speaker begins, after a pause, or when it is long. A few words without a speaker
    join a turn if the same speaker speaks before and after them; otherwise they are a turn of their own.
    """
    found = [
        (_collapse_whitespace(turn.label or ""), _collapse_whitespace(" ".join(turn.texts)))
        for turn in _build_paragraphs(finals)
    ]
    return [(label or None, text) for label, text in found if text]


def ends_sentence(text: str, following: str = "") -> bool:
    """Return whether a text ends a sentence; "No." before a number does not."""
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
    """Add a part to the last turn or to a new one; ``before`` is None within a final."""
    paused = before is not None and final.segment_start - before.segment_end > TURN_PAUSE_SECONDS
    if found and not paused and _continues_turn(found[-1], part):
        texts = found.pop().texts
        found[-1].texts += texts
    last = found[-1] if found else None
    if last is None or last.speaker != part.speaker or paused or (before and _is_full(last, part)):
        previous = last.speaker if last and part.speaker is None and not paused else None
        found.append(_Paragraph(part.speaker, part.label, previous))
    found[-1].texts.append(part.text)


def _continues_turn(turn: _Paragraph, part: _SpeakerPart) -> bool:
    """Return whether a turn without a speaker lies between two parts of one speaker."""
    is_open = turn.speaker is None and turn.previous_speaker is not None
    return is_open and turn.previous_speaker == part.speaker and turn.size <= LONG_TURN_CHARACTERS


def _is_full(turn: _Paragraph, part: _SpeakerPart) -> bool:
    return turn.size > MAX_TURN_CHARACTERS or (
        turn.size > LONG_TURN_CHARACTERS and ends_sentence(turn.texts[-1], part.text)
    )


def _split_by_speaker(final: Final) -> Iterator[_SpeakerPart]:
    """Split a final by speakers."""
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
    for speaker, group in groupby(words, speaker_of):
        yield labelled(" ".join(word.word for word in group), speaker)


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
