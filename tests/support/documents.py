"""The documents, taken apart: prose, links, anchors, blocks, and the commands that they name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
#: Those whose commands are run; what was decided once is not.
GUIDES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Code within a line.
CODE = re.compile(r"`([^`\n]+)`")
#: Languages of blocks that hold commands.
SHELL = ("", "sh", "bash", "console")
#: What stands before a program: ``sudo``, variables, a folder.
BEFORE = r"(?:sudo |[A-Z_]+=\S+ |\S*/)*"
#: Code within a line that is a command: a program and what it is given.
_COMMAND = re.compile(
    BEFORE
    + r"(?:arecord|curl|docker|echoic|ffmpeg|git|kill|llama-server|make|node|npm|ollama|openssl|pip|pytest"
    + r"|python|sox|sqlite3|systemctl|systemd-analyze|vllm) [^=]"
    + r"|sudo "
)


@dataclass(frozen=True)
class Passage:
    """Commands that belong together: those of a block, or one within a line.

    Attributes:
        document: Where they stand.
        lines: Each as it stands there, without comments.
    """

    document: str
    lines: tuple[str, ...]


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return FENCE.sub("", document.read_text("utf-8"))


def blocks(document: Path, *languages: str) -> list[str]:
    """Return a document's blocks in any of these languages."""
    return [body for kind, body in FENCE.findall(document.read_text("utf-8")) if kind in languages]


def links(document: Path) -> list[str]:
    """Return the links that lead to files."""
    found = re.findall(r"\]\(([^)\s]+)\)", CODE.sub("``", prose(document)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def codes(document: Path) -> list[str]:
    """Return the code within a document's lines."""
    return CODE.findall(prose(document))


def passages(document: Path) -> list[Passage]:
    """Return a document's commands, in their order."""
    together = [tuple(_lines(body)) for body in blocks(document, *SHELL)]
    together += [(code,) for code in codes(document) if _COMMAND.match(code)]
    return [Passage(name_of(document), lines) for lines in together if lines]


def _lines(body: str) -> list[str]:
    """Return a block's commands; of one that shows a terminal, what is typed."""
    lines = body.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    bare = (re.sub(r"(^|\s+)# .*", "", line).strip() for line in lines)
    return [line for line in bare if line]
