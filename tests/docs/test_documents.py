"""Links, commands and targets in the documents exist, and their Python compiles."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from echoic.cli.program import app
from support.documents import (
    DOCUMENTS,
    ROOT,
    SHELL_LANGUAGES,
    find_anchors,
    find_blocks,
    find_file_links,
    find_inline_code,
    to_relative_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Options of Docker.
OPTIONS_OF_OTHERS = {"--env-file"}


def find_calls(document: Path, program: str) -> list[list[str]]:
    """Return the arguments of each call of a program, in code blocks and inline code."""
    call = re.compile(rf"(?:^|\s|/){program} ([a-z][^#|]*)")
    lines = "".join(find_blocks(document, *SHELL_LANGUAGES)).splitlines()
    return [
        found[1].split() for line in [*lines, *find_inline_code(document)] if (found := call.search(line))
    ]


def list_subcommands() -> set[str]:
    return set(getattr(get_command(app), "commands", {}))


def list_options(command: object) -> Iterator[str]:
    """Yield the options of a command and of its subcommands."""
    for parameter in getattr(command, "params", ()):
        yield from (*parameter.opts, *parameter.secondary_opts)
    for below in getattr(command, "commands", {}).values():
        yield from list_options(below)


@pytest.fixture(params=DOCUMENTS, ids=to_relative_name)
def document(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


def test_every_link_has_a_target(document: Path) -> None:
    for link in find_file_links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), link
        assert not anchor or anchor in find_anchors(target), link


def test_every_python_block_compiles(document: Path) -> None:
    for code in find_blocks(document, "python"):
        compile(code, str(document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {words[0] for words in find_calls(document, "make")} <= targets


def test_every_echoic_command_exists(document: Path) -> None:
    assert {words[0] for words in find_calls(document, "echoic")} <= list_subcommands()


def test_every_option_belongs_to_a_command(document: Path) -> None:
    named = {option for code in find_inline_code(document) for option in re.findall(r"^--[a-z-]+", code)}
    assert named - OPTIONS_OF_OTHERS <= set(list_options(get_command(app)))


def test_links_and_calls_are_found() -> None:
    readme = ROOT / "README.md"
    assert ["run"] in find_calls(readme, "make")
    assert {"transcribe", "serve", "doctor"} <= {words[0] for words in find_calls(readme, "echoic")}
    assert "docs/protocol.md" in find_file_links(readme)
    assert "2-audio" in find_anchors(ROOT / "docs" / "protocol.md")


def test_the_index_links_to_every_document() -> None:
    index = ROOT / "docs" / "index.md"
    there = {(index.parent / link).resolve() for link in find_file_links(index)}
    assert {path for path in (ROOT / "docs").glob("*.md") if path != index} <= there


def test_the_table_of_events_is_complete() -> None:
    event = r"(?:stream|model|quota|keys|request|server)\.[a-z_]+"
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(rf"`({event})`", row)}
    code = "".join(file.read_text("utf-8") for file in (ROOT / "src" / "echoic").rglob("*.py"))
    logged = set(re.findall(rf"(?:\blog_event|_log_event|_log_warning)\([^\"]*\"({event})\"", code))
    assert named == logged
