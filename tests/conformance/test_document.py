"""docs/protocol.md says what the code says, and each of its sentences has a case."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from conformance.cases import CASES
from echoic.errors import CLOSE_CODES
from echoic.protocol import frames
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import ServerFrame
from echoic.session.config import StreamConfig

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", DOCUMENT, re.DOTALL)]
CLIENT_TYPES = {"config", "audio", "auth"}
IDS = re.findall(r"\[(P\d+\.\d+)\]", DOCUMENT.split("## 1.")[1])


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    body = DOCUMENT.split(heading)[1]
    table = re.search(r"(?:^\|.*\n)+", body, re.MULTILINE)
    assert table
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_sentence_has_a_case_and_every_case_a_sentence() -> None:
    shown = {one for case in CASES for one in case.sentence_ids}
    assert set(IDS) - shown == set()
    assert shown - set(IDS) == set()
    assert [one for one, count in Counter(IDS).items() if count > 1] == []


def test_every_case_is_there_once() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


def test_the_defaults_of_the_table_are_those_of_the_code() -> None:
    defaults = dataclasses.asdict(StreamConfig()) | {"model_variant": StreamConfig().variant}
    defaults |= {name: defaults[name] is not None for name in ("diarization", "insights")}
    seen = set()
    for keys, default, _, _ in rows("## 3. Config"):
        name = keys.split("`")[1]
        seen.add(name)
        if name != "vocabulary":
            assert json.loads(default.strip("`")) == defaults[name], name
    assert seen == set(defaults)


def test_the_errors_of_the_table_are_those_of_the_code() -> None:
    closes = {code.split("`")[1]: then for _, code, _, _, then in rows("- [P7.1]")}
    assert closes == {
        str(code): "goes on" if close is None else str(close) for code, close in CLOSE_CODES.items()
    }


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e["type"] in CLIENT_TYPES], ids=lambda e: e["type"]
)
def test_an_example_of_a_client_is_legal(example: dict[str, object]) -> None:
    assert type(decode_message(json.dumps(example))).__name__.lower() == example["type"]


SERVER_EXAMPLES = [example for example in EXAMPLES if example["type"] not in CLIENT_TYPES]


@pytest.mark.parametrize("example", SERVER_EXAMPLES, ids=lambda e: e["type"])
def test_an_example_of_the_server_is_a_frame(example: dict[str, object]) -> None:
    kind = kind_of(example)
    if kind is frames.Error:
        assert example["code"] == example["error_type"]
        return
    assert json.loads(msgspec.json.encode(msgspec.convert(example, kind))) == example


def test_every_frame_of_the_server_has_an_example() -> None:
    assert {kind_of(example) for example in SERVER_EXAMPLES} == set(get_args(ServerFrame))


def kind_of(example: dict[str, object]) -> type:
    if example["type"] == "status":
        states: dict[object, type] = {"configured": frames.Configured, "resumed": frames.Resumed}
        return states.get(example["state"], frames.Status)
    name = "".join(part.capitalize() for part in str(example["type"]).split("_"))
    kind: type = getattr(frames, name)
    return kind
