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
_MOST_ITEMS: Final = 20
_LONGEST: Final = 500
#: Characters of an answer that are looked at, and places in it where its object may begin.
_MOST_TEXT: Final = 200_000
_MOST_STARTS: Final = 50
_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
#: The form of an answer, as JSON Schema; within what strict modes of servers know.
SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "properties": {
        "summary": _TEXTS,
        "action_items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"description": {"type": "string"}, "owner": {"type": ["string", "null"]}},
                "required": ["description", "owner"],
                "additionalProperties": False,
            },
        },
        "decisions": _TEXTS,
        "topics": _TEXTS,
    },
    "required": ["summary", "action_items", "decisions", "topics"],
    "additionalProperties": False,
}
_THOUGHTS: Final = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)


class Unusable(Exception):
    """An answer that says nothing in the form that was asked for.

    Args:
        message: What is wrong with it, in a sentence of ours.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Item(msgspec.Struct):
    description: str
    owner: str | None = None


class _Answer(msgspec.Struct):
    summary: list[str] = []
    action_items: list[_Item] = []
    decisions: list[str] = []
    topics: list[str] = []


def findings_in(text: str) -> Findings:
    """Return the findings that a model's answer holds.

    Args:
        text: JSON, or text with a JSON object in it.

    Raises:
        Unusable: There is no such object in it, or not of that form.
    """
    found = _object_in(_THOUGHTS.sub("", text[:_MOST_TEXT]))
    try:
        answer = msgspec.convert(found, _Answer)
    except msgspec.ValidationError:
        raise Unusable("The language model's answer has not the form that was asked for.") from None
    return Findings(
        summary=_cleaned(answer.summary),
        action_items=tuple(_items(answer.action_items)),
        decisions=_cleaned(answer.decisions),
        topics=_cleaned(answer.topics),
    )


def _object_in(text: str) -> dict[str, object]:
    decoder = json.JSONDecoder()
    starts = (match.start() for match in re.finditer(r"\{", text))
    wrong = "is no JSON"
    for start, _ in zip(starts, range(_MOST_STARTS), strict=False):
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.keys() & set(_Answer.__struct_fields__):
            return found
        wrong = "has not the form that was asked for"
    raise Unusable(
        f"The language model's answer {wrong}." if text.strip() else "The language model said nothing."
    )


def _items(items: Iterable[_Item]) -> Iterator[ActionItem]:
    for item in list(items)[:_MOST_ITEMS]:
        if description := _clean(item.description):
            yield ActionItem(description, _clean(item.owner or "") or None)


def _cleaned(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts without those that are empty or said before."""
    return tuple(dict.fromkeys(clean for text in list(texts)[:_MOST_ITEMS] if (clean := _clean(text))))


def _clean(text: str) -> str:
    """Return a text on one line, of characters that can be seen, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _LONGEST]).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1].rstrip()}…"
