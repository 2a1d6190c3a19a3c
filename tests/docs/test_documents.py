"""What the documents point at is there: links, commands, targets; and their Python is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from echoic.cli import app

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Code within a line.
CODE = re.compile(r"`([^`\n]+)`")


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text("utf-8"))


def links(document: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", CODE.sub("``", prose(document)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def commands(document: Path) -> list[str]:
    """Return what is written as code: the lines of blocks without a language, and code in the text."""
    blocks = FENCE.findall(document.read_text("utf-8"))
    lines = [line for kind, body in blocks if kind in ("", "sh", "bash") for line in body.splitlines()]
    return [*lines, *CODE.findall(prose(document))]


def called(document: Path, program: str) -> list[list[str]]:
    """Return the arguments of each call of a program."""
    call = re.compile(rf"(?:^|\s|/){program} ([a-z][^#|]*)")
    return [found[1].split() for line in commands(document) if (found := call.search(line))]


def subcommands() -> set[str]:
    return set(getattr(get_command(app), "commands", {}))


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def document(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_piece_of_python_compiles(document: Path) -> None:
    for kind, code in FENCE.findall(document.read_text("utf-8")):
        if kind == "python":
            compile(code, str(document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_target_of_make_is_in_the_makefile(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {words[0] for words in called(document, "make")} <= targets


def test_every_command_of_echoic_is_one(document: Path) -> None:
    assert {words[0] for words in called(document, "echoic")} <= subcommands()


def test_the_looking_finds_what_there_is_to_find() -> None:
    readme = ROOT / "README.md"
    assert ["run"] in called(readme, "make")
    assert {"transcribe", "serve", "doctor"} <= {words[0] for words in called(readme, "echoic")}
    assert "docs/protocol.md" in links(readme)
    assert "2-audio" in anchors(ROOT / "docs" / "protocol.md")


def test_every_document_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    there = {(index.parent / link).resolve() for link in links(index)}
    assert {path for path in (ROOT / "docs").glob("*.md") if path != index} <= there


def test_the_table_of_events_names_what_the_server_logs() -> None:
    event = r"(?:stream|model|quota|keys|request|server)\.[a-z_]+"
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(rf"`({event})`", row)}
    code = "".join(file.read_text("utf-8") for file in (ROOT / "src" / "echoic").rglob("*.py"))
    logged = set(re.findall(rf"(?:\bevent|_log|_tell)\([^\"]*\"({event})\"", code))
    assert named == logged
