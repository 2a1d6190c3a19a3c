"""Renders finals as text, SubRip, WebVTT and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Literal

from msgspec import UNSET

from echoic.export.cues import Cue, build_cues
from echoic.export.turns import join_transcript, render_turns
from echoic.protocol.frames import Final, Insight

TranscriptFormat = Literal["txt", "srt", "vtt", "json"]


def render(finals: Sequence[Final], output_format: TranscriptFormat) -> str:
    """Render finals in a format, with a line end at the end.

    Args:
        finals: In the order of their times.
        output_format: ``txt``: a paragraph for each turn; ``srt``, ``vtt``: subtitles; ``json``: everything.
    """
    match output_format:
        case "txt":
            return "\n\n".join(render_turns(finals)) + "\n"
        case "srt":
            return render_srt(finals)
        case "vtt":
            return render_vtt(finals)
        case "json":
            return render_json(finals)


def render_srt(finals: Sequence[Final]) -> str:
    """Render SubRip, with the names of known speakers; arrows and tags in the text are replaced."""
    blocks = [
        f"{number}\n{_render_times(cue, ',')}\n{_escape_srt(cue.lines)}\n"
        for number, cue in enumerate(build_cues(finals, with_names=True), 1)
    ]
    return "\n".join(blocks)


def render_vtt(finals: Sequence[Final]) -> str:
    """Render WebVTT, with voice tags for known speakers."""
    blocks = ["WEBVTT\n"]
    for cue in build_cues(finals):
        voice = f"<v {escape(cue.speaker, quote=False)}>" if cue.speaker else ""
        text = escape("\n".join(cue.lines), quote=False)
        blocks.append(f"{_render_times(cue, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def render_json(finals: Sequence[Final], insights: Sequence[Insight] = ()) -> str:
    """Render ``{"text", "segments": [{"id", "start", "end", "text", …}]}``.

    A segment has ``spoken_start``, ``spoken_end``, ``words``, ``speaker``, ``speaker_id`` if they are known.

    Args:
        finals: In the order of their times.
        insights: Insights; the key is left out if there are none.
    """
    body: dict[str, object] = {
        "text": join_transcript(finals),
        "segments": [_to_segment(final) for final in finals],
    }
    if insights:
        body["insights"] = [asdict(insight) for insight in insights]
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def render_insight(insight: Insight) -> str:
    """Render an insight as text: a heading for each part, and a line for each item."""
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


def _escape_srt(lines: Sequence[str]) -> str:
    return "\n".join(lines).replace("-->", "→").replace("<", "‹").replace(">", "›")  # noqa: RUF001  # no tags


def _render_times(cue: Cue, separator: str) -> str:
    return f"{_render_timestamp(cue.start, separator)} --> {_render_timestamp(cue.end, separator)}"


def _render_timestamp(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"


def _to_segment(final: Final) -> dict[str, object]:
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
