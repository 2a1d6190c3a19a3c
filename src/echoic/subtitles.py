"""Finals as text, SubRip, WebVTT and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Literal

from msgspec import UNSET

from echoic.cues import cues
from echoic.turns import transcript, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.wire.frames import Final, Insight

Format = Literal["txt", "srt", "vtt", "json"]


def render(finals: Sequence[Final], form: Format) -> str:
    """Return the finals in one of the formats, with a line end at the end.

    Args:
        finals: In their order.
        form: ``txt``: a paragraph for each turn; ``srt``, ``vtt``: subtitles; ``json``: everything.
    """
    match form:
        case "txt":
            return "\n\n".join(turns(finals)) + "\n"
        case "srt":
            return srt(finals)
        case "vtt":
            return vtt(finals)
        case "json":
            return as_json(finals)


def srt(finals: Sequence[Final]) -> str:
    """Return SubRip, with speakers' names where they are known; it can neither have an arrow nor tags."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_plain(cue.lines)}\n"
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
    """Return ``{"text", "segments": [{"id", "start", "end", "text", …}]}``.

    Of ``spoken_start``, ``spoken_end``, ``words``, ``speaker``, ``speaker_id`` a segment has what is known.

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


def _plain(lines: Sequence[str]) -> str:
    return "\n".join(lines).replace("-->", "→").replace("<", "‹").replace(">", "›")  # noqa: RUF001  # no tag


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


def _segment(final: Final) -> dict[str, object]:
    body: dict[str, object] = {
        "id": final.segment_id,
        "start": final.segment_start,
        "end": final.segment_end,
    }
    if final.spoken_start is not UNSET:
        body |= {"spoken_start": final.spoken_start, "spoken_end": final.spoken_end}
    body["text"] = final.text
    if final.words is not UNSET:
        body["words"] = [
            {key: value for key, value in asdict(word).items() if value is not UNSET} for word in final.words
        ]
    if final.speaker_label is not UNSET:
        body["speaker"] = final.speaker_label
    if final.speaker_id is not UNSET:
        body["speaker_id"] = final.speaker_id
    return body
