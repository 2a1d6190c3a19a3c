"""Builds subtitle cues from finals. The page has the same rules in ``cues.js``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from msgspec import UNSET

from echoic.export import turns
from echoic.export.turns import ends_sentence
from echoic.protocol.constants import to_speaker_label
from echoic.protocol.frames import Final, Word

#: Characters of a line and lines of a cue. Source: Netflix Timed Text Style Guide, general requirements.
MAX_LINE_LENGTH = 42
MAX_LINES = 2
#: Seconds of the longest cue. Source: as above (7 s).
MAX_CUE_SECONDS = 7.0
#: Seconds of silence that end a cue.
CUE_PAUSE_SECONDS = 1.0
#: Seconds after which the end of a sentence ends a cue too.
MIN_SENTENCE_SECONDS = 1.0
#: Seconds of silence that a cue may span if its parts are too short to stand alone.
MAX_JOINED_GAP_SECONDS = 2.0
#: Milliseconds of the shortest cue, and for reading a character, where there is room.
#: Source: as above (5/6 s; 20 characters a second for adults).
MIN_CUE_MS = 833
READING_MS_PER_CHARACTER = 50
#: Milliseconds that a short cue may begin before its words.
MAX_EARLY_START_MS = 500
#: Marks a turn whose speaker is unknown.
_UNKNOWN_SPEAKER_MARK = "-"


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines of text with their times in milliseconds, ``start < end``; cues do not overlap."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class _CuePiece:
    """A word, or a part of a word that is longer than a line; times are in seconds."""

    text: str
    start: float
    end: float
    speaker: str | None
    #: Whether the part of the word before it precedes it without a space.
    joined: bool = False
    #: The name before the first word of a turn.
    name: str | None = None


def build_cues(finals: Iterable[Final], *, with_names: bool = False) -> list[Cue]:
    """Build cues of at most two lines.

    A cue ends at the end of a sentence, at a pause, where another speaker begins, or when it is full; a stray
    word joins the words of its speaker before or after it. A cue is shown as long as reading takes, if there
    is room before the next. Words without times share the time of their final by their lengths.

    Args:
        finals: In the order of their times.
        with_names: Whether the first cue of a turn begins with the name of its speaker, or with a dash if the
            speaker is unknown and the one before is known.
    """
    pieces = _assign_unknown_speakers(piece for final in finals for piece in _split_final(final))
    groups = _merge_short_groups(list(_group_pieces(_add_turn_names(pieces))))
    return [
        Cue(
            start,
            end,
            tuple(_wrap_lines([*_find_turn_name(group), *group] if with_names else group)),
            group[0].speaker,
        )
        for group, (start, end) in zip(groups, _schedule_cues(groups), strict=True)
    ]


def _schedule_cues(groups: Sequence[list[_CuePiece]]) -> list[tuple[int, int]]:
    """Return the start and end of each cue, in milliseconds."""
    found: list[tuple[int, int]] = []
    for group in groups:
        start = max(round(group[0].start * 1000), found[-1][1] if found else 0)
        found.append((start, max(round(group[-1].end * 1000), start + 1)))
    before = 0
    for at, (start, end) in enumerate(found):
        letters = sum(map(len, _wrap_lines(groups[at])))
        room = found[at + 1][0] if at + 1 < len(found) else inf
        shown_until = int(min(start + max(MIN_CUE_MS, letters * READING_MS_PER_CHARACTER), room))
        late_end = max(end, shown_until)
        early_start = max(min(start, late_end - MIN_CUE_MS), start - MAX_EARLY_START_MS, before)
        found[at], before = (early_start, late_end), late_end
    return found


def _merge_short_groups(groups: list[list[_CuePiece]]) -> list[list[_CuePiece]]:
    """Join groups that are too short to stand alone with their neighbours."""
    at = 0
    while at < len(groups):
        fix = _merge_with_neighbour(groups, at) if _should_merge(groups, at) else None
        if fix is None:
            at += 1
            continue
        first, made = fix
        groups[first : first + 2] = made
        at = at + 1 if len(made) > 1 else first
    return groups


def _should_merge(groups: Sequence[list[_CuePiece]], at: int) -> bool:
    group = groups[at]
    room = (groups[at + 1][0].start if at + 1 < len(groups) else inf) - group[0].start
    is_settled = _group_ends_sentence(group) and not _is_overflow_word(groups, at)
    return not _can_stand_alone(group) and (room * 1000 < MIN_CUE_MS or not is_settled)


def _is_overflow_word(groups: Sequence[list[_CuePiece]], at: int) -> bool:
    """Return whether a word is alone only because the cue before was full."""
    group = groups[at]
    if len(group) > 1 or not at or _group_ends_sentence(groups[at - 1]):
        return False
    last = groups[at - 1][-1]
    return last.speaker == group[0].speaker and group[0].start - last.end <= CUE_PAUSE_SECONDS


def _can_stand_alone(group: Sequence[_CuePiece]) -> bool:
    is_lone = len(group) == 1 and not _group_ends_sentence(group)
    return not is_lone and (group[-1].end - group[0].start) * 1000 >= MIN_CUE_MS


def _merge_with_neighbour(
    groups: Sequence[list[_CuePiece]], at: int
) -> tuple[int, list[list[_CuePiece]]] | None:
    """Join a group with a neighbour, as one group or as two split elsewhere; return the first index too."""

    def gap(first: int) -> float:
        return groups[first + 1][0].start - groups[first][-1].end

    sides = [
        first
        for first in (at - 1, at)
        if 0 <= first < len(groups) - 1
        and groups[first][0].speaker == groups[first + 1][0].speaker
        and gap(first) <= MAX_JOINED_GAP_SECONDS
    ]
    # A neighbour in the same sentence is nearer.
    for first in sorted(
        sides, key=lambda first: _group_ends_sentence(groups[first]) * MAX_JOINED_GAP_SECONDS + gap(first)
    ):
        pieces = [*groups[first], *groups[first + 1]]
        is_end = first < at and _is_overflow_word(groups, at)
        if made := _split_evenly(pieces) or (_split_near_end(pieces) if is_end else []):
            return first, made
    return None


def _split_evenly(pieces: list[_CuePiece]) -> list[list[_CuePiece]]:
    """Return the pieces as one group, or as two complete groups of similar length; empty if neither fits."""
    if _fits_cue(pieces):
        return [pieces]
    cuts = ([pieces[:at], pieces[at:]] for at in range(1, len(pieces)))
    good = (halves for halves in cuts if all(_fits_cue(half) and _can_stand_alone(half) for half in halves))
    return min(
        good, key=lambda halves: abs(_count_characters(halves[0]) - _count_characters(halves[1])), default=[]
    )


def _split_near_end(pieces: list[_CuePiece]) -> list[list[_CuePiece]]:
    """Return the pieces as two groups, the second of few words, but more than one; empty if none fits."""
    cuts = ([pieces[:at], pieces[at:]] for at in range(len(pieces) - 2, 1, -1))
    return next((halves for halves in cuts if all(map(_fits_cue, halves))), [])


def _count_characters(group: Iterable[_CuePiece]) -> int:
    return sum(len(piece.text) for piece in group)


def _fits_cue(group: Sequence[_CuePiece]) -> bool:
    return (
        group[-1].end - group[0].start <= MAX_CUE_SECONDS
        and len(_wrap_lines([*_find_turn_name(group), *group])) <= MAX_LINES
    )


def _group_ends_sentence(group: Sequence[_CuePiece]) -> bool:
    return ends_sentence(group[-1].text)


def _assign_unknown_speakers(pieces: Iterable[_CuePiece]) -> Iterator[_CuePiece]:
    """Yield the pieces; a few without a speaker get the speaker before and after them."""
    before: _CuePiece | None = None
    unknown: list[_CuePiece] = []
    for piece in pieces:
        if piece.speaker is None:
            unknown.append(piece)
            continue
        is_known = before is not None and _is_one_turn([before, *unknown, piece])
        yield from (replace(one, speaker=piece.speaker) for one in unknown) if is_known else unknown
        yield piece
        before, unknown = piece, []
    yield from unknown


def _is_one_turn(pieces: Sequence[_CuePiece]) -> bool:
    """Return whether first and last have one speaker, with little text and no long pause between them."""
    is_short = _count_characters(pieces[1:-1]) + len(pieces) - 2 <= turns.LONG_TURN_CHARACTERS
    is_unbroken = all(
        after.start - before.end <= turns.TURN_PAUSE_SECONDS for before, after in pairwise(pieces)
    )
    return pieces[0].speaker == pieces[-1].speaker and is_short and is_unbroken


def _add_turn_names(pieces: Iterable[_CuePiece]) -> Iterator[_CuePiece]:
    """Yield the pieces; the first of each turn has a name."""
    before: _CuePiece | None = None
    for piece in pieces:
        name = (
            f"{piece.speaker}:"
            if piece.speaker
            else _UNKNOWN_SPEAKER_MARK
            if before and before.speaker
            else None
        )
        continues_turn = (
            before
            and piece.speaker == before.speaker
            and piece.start - before.end <= turns.TURN_PAUSE_SECONDS
        )
        yield piece if continues_turn else replace(piece, name=name)
        before = piece


def _group_pieces(pieces: Iterable[_CuePiece]) -> Iterator[list[_CuePiece]]:
    group: list[_CuePiece] = []
    for piece in pieces:
        if group and _should_start_cue(group, piece):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _should_start_cue(group: list[_CuePiece], piece: _CuePiece) -> bool:
    first, last = group[0], group[-1]
    return (
        piece.speaker != first.speaker
        or piece.start - last.end > CUE_PAUSE_SECONDS
        or (last.end - first.start >= MIN_SENTENCE_SECONDS and ends_sentence(last.text, piece.text))
        or not _fits_cue([*group, piece])
    )


def _find_turn_name(group: Sequence[_CuePiece]) -> Iterator[_CuePiece]:
    """Yield the name before the text of a cue that begins a turn."""
    if group[0].name:
        yield replace(group[0], text=group[0].name, joined=False)


def _wrap_lines(group: Iterable[_CuePiece]) -> list[str]:
    lines: list[str] = []
    for piece in group:
        gap = "" if piece.joined else " "
        if lines and len(lines[-1]) + len(gap) + len(piece.text) <= MAX_LINE_LENGTH:
            lines[-1] += gap + piece.text
        else:
            lines.append(piece.text)
    return lines


def _split_final(final: Final) -> Iterator[_CuePiece]:
    at = 0.0
    for word in _time_words(final):
        begin = max(word.start, at)
        at = max(word.end, begin)
        yield from _split_long_word(replace(word, start=begin, end=at))


def _time_words(final: Final) -> Iterator[_CuePiece]:
    speaker = None if final.speaker_label is UNSET else " ".join(final.speaker_label.split()) or None
    if final.words is not UNSET and final.words:
        for one in final.words:
            if text := " ".join(one.word.split()):
                yield _CuePiece(text, one.start, one.end, _resolve_speaker(one, final, speaker))
        return
    words = final.text.split()
    size = sum(len(word) + 1 for word in words) or 1
    at, until = final.segment_start, final.segment_end
    if final.spoken_start is not UNSET and final.spoken_end is not UNSET:
        at, until = final.spoken_start, final.spoken_end
    speed = (until - at) / size
    for word in words:
        end = at + (len(word) + 1) * speed
        yield _CuePiece(word, at, end, speaker)
        at = end


def _resolve_speaker(word: Word, final: Final, speaker: str | None) -> str | None:
    """Return the label of a word's own speaker, else that of the final."""
    if word.speaker_id is UNSET or word.speaker_id == final.speaker_id:
        return speaker
    return to_speaker_label(word.speaker_id)


def _split_long_word(piece: _CuePiece) -> Iterator[_CuePiece]:
    speed = (piece.end - piece.start) / len(piece.text)
    for first in range(0, len(piece.text), MAX_LINE_LENGTH):
        part = piece.text[first : first + MAX_LINE_LENGTH]
        start = piece.start + first * speed
        yield replace(piece, text=part, start=start, end=start + len(part) * speed, joined=first > 0)
