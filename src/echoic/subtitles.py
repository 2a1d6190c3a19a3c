"""Finals as text, SubRip, WebVTT and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from echoic.wire.frames import Final, Insight, Word

Format = Literal["txt", "srt", "vtt", "json"]

#: Characters of a line and lines of a cue. Source: Netflix Timed Text Style Guide, general requirements.
LINE_LENGTH = 42
LINES = 2
#: Seconds of the longest cue. Source: as above (7 s).
LONGEST_CUE = 7.0
#: Seconds of silence that end a cue.
PAUSE = 1.0
#: Seconds a cue has at least before the end of a sentence ends it too.
SHORT_CUE = 1.0
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")  # noqa: RUF001  # those of Chinese and Japanese


@dataclass(frozen=True, slots=True)
class Cue:
    """Some text and when it is shown: whole milliseconds, ``start < end``, never two at once."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or a part of one that fits no line (``joined`` to the part before), in seconds."""

    text: str
    start: float
    end: float
    speaker: str | None
    joined: bool = False


def render(finals: Sequence[Final], form: Format) -> str:
    """Return the finals in one of the formats, with a line end at the end.

    Args:
        finals: In their order.
        form: ``txt``: the text in one line, or where speakers are known a line for each turn; ``srt``,
            ``vtt``: subtitles; ``json``: everything.
    """
    match form:
        case "txt":
            return "\n".join(turns(finals)) + "\n"
        case "srt":
            return srt(finals)
        case "vtt":
            return vtt(finals)
        case "json":
            return as_json(finals)


def transcript(finals: Iterable[Final]) -> str:
    """Return the finals' texts joined, as ``full_transcript`` does."""
    return " ".join(final.text for final in finals if final.text)


def turns(finals: Iterable[Final]) -> list[str]:
    """Return what is said, turn by turn: ``SPEAKER_00: …``; one text without a name where nobody is known."""
    return [f"{speaker}: {text}" if speaker else text for speaker, text in spoken(finals)]


def spoken(finals: Iterable[Final]) -> list[tuple[str | None, str]]:
    """Return who says what, turn by turn; one turn of nobody's where nobody is known."""
    finals = list(finals)
    pieces = [piece for final in finals for piece in _pieces(final)]
    if not any(piece.speaker for piece in pieces):
        return [(None, transcript(finals))]
    found: list[tuple[str | None, str]] = []
    for speaker, turn in groupby(pieces, key=lambda piece: piece.speaker):
        text = "".join(piece.text if piece.joined else f" {piece.text}" for piece in turn).strip()
        found.append((speaker, text))
    return found


def srt(finals: Sequence[Final]) -> str:
    """Return SubRip, with speakers' names where they are known; its arrow in a text is made harmless."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_plain(cue)}\n"
        for number, cue in enumerate(cues(finals, named=True), 1)
    )


def vtt(finals: Sequence[Final]) -> str:
    """Return WebVTT, escaped as it wants it, with voice tags where speakers are known."""
    blocks = ["WEBVTT\n"]
    for cue in cues(finals):
        voice = f"<v {escape(cue.speaker, quote=False)}>" if cue.speaker else ""
        text = escape("\n".join(cue.lines), quote=False)
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def as_json(finals: Sequence[Final], insights: Sequence[Insight] = ()) -> str:
    """Return ``{"text", "segments": [{"id", "start", "end", "text", "words"?, "speaker"?, "speaker_id"?}]}``.

    Args:
        finals: In their order.
        insights: What the talk comes down to; without any the key is left out.
    """
    body: dict[str, object] = {"text": transcript(finals), "segments": [_segment(final) for final in finals]}
    if insights:
        body["insights"] = [asdict(insight) for insight in insights]
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def outline(insight: Insight) -> str:
    """Return an insight as text: a heading for each of its parts, and a line for each thing in it."""
    tasks = [
        f"{item.description} ({item.owner})" if item.owner else item.description
        for item in insight.action_items
    ]
    parts = (
        ("Summary", insight.summary),
        ("Action items", tasks),
        ("Decisions", insight.decisions),
        ("Topics", insight.topics),
    )
    return "\n".join(
        f"{title}\n" + "".join(f"- {' '.join(line.split())}\n" for line in lines)
        for title, lines in parts
        if lines
    )


def cues(finals: Iterable[Final], *, named: bool = False) -> list[Cue]:
    """Return the finals as cues of at most two lines.

    A cue ends at the end of a sentence, at a pause, where another speaks, or when it is full. Words that
    bear no times share their segment's time by their lengths.

    Args:
        finals: In their order.
        named: Whether the lines begin with the speaker's name, where it is known.
    """
    found: list[Cue] = []
    for group in _groups(piece for final in finals for piece in _pieces(final)):
        last_end = found[-1].end if found else 0
        start = max(round(group[0].start * 1000), last_end)
        end = max(round(group[-1].end * 1000), start + 1)
        lines = _lines([*_name(group), *group]) if named else _lines(group)
        found.append(Cue(start, end, tuple(lines), group[0].speaker))
    return found


def _groups(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        if group and _is_over(group, piece):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _is_over(group: list[_Piece], piece: _Piece) -> bool:
    first, last = group[0], group[-1]
    return (
        piece.speaker != first.speaker
        or piece.start - last.end > PAUSE
        or piece.end - first.start > LONGEST_CUE
        or (last.text.endswith(_SENTENCE_ENDS) and last.end - first.start >= SHORT_CUE)
        or len(_lines([*_name(group), *group, piece])) > LINES
    )


def _name(group: list[_Piece]) -> Iterator[_Piece]:
    """Yield the name before a cue's text; room is left for it wherever it is shown."""
    if group[0].speaker:
        yield replace(group[0], text=f"{group[0].speaker}:", joined=False)


def _lines(group: Iterable[_Piece]) -> list[str]:
    lines: list[str] = []
    for piece in group:
        gap = "" if piece.joined else " "
        if lines and len(lines[-1]) + len(gap) + len(piece.text) <= LINE_LENGTH:
            lines[-1] += gap + piece.text
        else:
            lines.append(piece.text)
    return lines


def _pieces(final: Final) -> Iterator[_Piece]:
    at = 0.0
    for word in _timed(final):
        begin = max(word.start, at)
        at = max(word.end, begin)
        yield from _split(replace(word, start=begin, end=at))


def _timed(final: Final) -> Iterator[_Piece]:
    speaker = None if final.speaker_label is UNSET else final.speaker_label
    if final.words is not UNSET and final.words:
        for one in final.words:
            if text := " ".join(one.word.split()):
                yield _Piece(text, one.start, one.end, _speaker(one, final, speaker))
        return
    words = final.text.split()
    size = sum(len(word) + 1 for word in words) or 1
    speed = (final.segment_end - final.segment_start) / size
    at = final.segment_start
    for word in words:
        end = at + (len(word) + 1) * speed
        yield _Piece(word, at, end, speaker)
        at = end


def _speaker(word: Word, final: Final, speaker: str | None) -> str | None:
    """Return the label of who says a word: of its own speaker, else of the final's."""
    if word.speaker_id is UNSET or word.speaker_id == final.speaker_id:
        return speaker
    return f"SPEAKER_{word.speaker_id:02}"


def _split(piece: _Piece) -> Iterator[_Piece]:
    speed = (piece.end - piece.start) / len(piece.text)
    for first in range(0, len(piece.text), LINE_LENGTH):
        part = piece.text[first : first + LINE_LENGTH]
        start = piece.start + first * speed
        yield replace(piece, text=part, start=start, end=start + len(part) * speed, joined=first > 0)


def _plain(cue: Cue) -> str:
    return "\n".join(line.replace("-->", "→") for line in cue.lines)


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


def _segment(final: Final) -> dict[str, object]:
    body: dict[str, object] = {
        "id": final.segment_id,
        "start": final.segment_start,
        "end": final.segment_end,
        "text": final.text,
    }
    if final.words is not UNSET:
        body["words"] = [
            {key: value for key, value in asdict(word).items() if value is not UNSET} for word in final.words
        ]
    if final.speaker_label is not UNSET:
        body["speaker"] = final.speaker_label
    if final.speaker_id is not UNSET:
        body["speaker_id"] = final.speaker_id
    return body
