"""What a language model answered: found in its text, held to its form, kept within bounds."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

from echoic.insights.base import ActionItem, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Items of each kind, and characters of each: a display's room, whatever a model writes.
_MAX_ITEMS: Final = 20
_MAX_ITEM_CHARS: Final = 500
#: Characters of an answer that are looked at, and places in it where its object may begin.
_MAX_ANSWER_CHARS: Final = 200_000
_MAX_OBJECT_STARTS: Final = 50
_STRING_ARRAY: Final = {"type": "array", "items": {"type": "string"}}
#: The form of an answer, as JSON Schema; within what strict modes of servers know.
ANSWER_SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "summary": _STRING_ARRAY,
        "action_items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"description": {"type": "string"}, "owner": {"type": ["string", "null"]}},
                "required": ["description", "owner"],
                "additionalProperties": False,
            },
        },
        "decisions": _STRING_ARRAY,
        "topics": _STRING_ARRAY,
    },
    "required": ["summary", "action_items", "decisions", "topics"],
    "additionalProperties": False,
}
_THINK_BLOCK: Final = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)


class BadResponse(Exception):
    """An answer that says nothing in the form that was asked for.

    Args:
        message: What is wrong with it, in a sentence of ours.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _ActionItemJson(msgspec.Struct):
    description: str
    owner: str | None = None


class _FindingsJson(msgspec.Struct):
    summary: list[str] = []
    action_items: list[_ActionItemJson] = []
    decisions: list[str] = []
    topics: list[str] = []


def parse_findings(text: str) -> Findings:
    """Return the findings that a model's answer holds.

    Args:
        text: JSON, or text with a JSON object in it.

    Raises:
        Unusable: There is no such object in it, or not of that form.
    """
    found = _parse_object(_THINK_BLOCK.sub("", text[:_MAX_ANSWER_CHARS]))
    try:
        answer = msgspec.convert(found, _FindingsJson)
    except msgspec.ValidationError:
        raise BadResponse("The language model's answer has not the form that was asked for.") from None
    return Findings(
        summary=_clean_texts(answer.summary),
        action_items=tuple(_build_action_items(answer.action_items)),
        decisions=_clean_texts(answer.decisions),
        topics=_clean_texts(answer.topics),
    )


def _parse_object(text: str) -> dict[str, object]:
    decoder = json.JSONDecoder()
    starts = (match.start() for match in re.finditer(r"\{", text))
    wrong = "is no JSON"
    for start, _ in zip(starts, range(_MAX_OBJECT_STARTS), strict=False):
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.keys() & set(_FindingsJson.__struct_fields__):
            return found
        wrong = "has not the form that was asked for"
    raise BadResponse(
        f"The language model's answer {wrong}." if text.strip() else "The language model said nothing."
    )


def _build_action_items(items: Iterable[_ActionItemJson]) -> Iterator[ActionItem]:
    for item in list(items)[:_MAX_ITEMS]:
        if description := _clean_text(item.description):
            yield ActionItem(description, _clean_text(item.owner or "") or None)


def _clean_texts(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts without those that are empty or said before."""
    return tuple(dict.fromkeys(clean for text in list(texts)[:_MAX_ITEMS] if (clean := _clean_text(text))))


def _clean_text(text: str) -> str:
    """Return a text on one line, of characters that can be seen, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _MAX_ITEM_CHARS]).split())
    return line if len(line) <= _MAX_ITEM_CHARS else f"{line[: _MAX_ITEM_CHARS - 1].rstrip()}…"
