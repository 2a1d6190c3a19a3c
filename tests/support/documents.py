"""Parses the documents: prose, links, anchors, code blocks and commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP_DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
#: The documents with commands; decisions are not among them.
GUIDES = [*TOP_DOCUMENTS, *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*TOP_DOCUMENTS, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE_PATTERN = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Inline code.
INLINE_CODE_PATTERN = re.compile(r"`([^`\n]+)`")
#: Languages of blocks that hold commands.
SHELL_LANGUAGES = ("", "sh", "bash", "console")
#: The part of a command before its program: ``sudo``, variables, a folder.
COMMAND_PREFIX = r"(?:sudo |[A-Z_]+=\S+ |\S*/)*"
#: Inline code that is a command: a program and its arguments.
_COMMAND_PATTERN = re.compile(
    COMMAND_PREFIX
    + r"(?:arecord|curl|docker|echoic|ffmpeg|git|kill|llama-server|make|node|npm|ollama|openssl|pip|pytest"
    + r"|python|sox|sqlite3|systemctl|systemd-analyze|vllm) [^=]"
    + r"|sudo "
)


@dataclass(frozen=True)
class CommandBlock:
    """The commands of a code block, or one of inline code."""

    #: The path of the document.
    document: str
    #: The commands verbatim, without comments.
    lines: tuple[str, ...]


def to_relative_name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def read_prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return FENCE_PATTERN.sub("", document.read_text("utf-8"))


def find_blocks(document: Path, *languages: str) -> list[str]:
    """Return a document's blocks in any of these languages."""
    return [body for kind, body in FENCE_PATTERN.findall(document.read_text("utf-8")) if kind in languages]


def find_file_links(document: Path) -> list[str]:
    """Return the links that lead to files."""
    found = re.findall(r"\]\(([^)\s]+)\)", INLINE_CODE_PATTERN.sub("``", read_prose(document)))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def find_anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", read_prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def find_inline_code(document: Path) -> list[str]:
    """Return a document's inline code."""
    return INLINE_CODE_PATTERN.findall(read_prose(document))


def find_command_blocks(document: Path) -> list[CommandBlock]:
    """Return a document's commands, in their order."""
    together = [tuple(_parse_commands(body)) for body in find_blocks(document, *SHELL_LANGUAGES)]
    together += [(code,) for code in find_inline_code(document) if _COMMAND_PATTERN.match(code)]
    return [CommandBlock(to_relative_name(document), lines) for lines in together if lines]


def _parse_commands(body: str) -> list[str]:
    """Return a block's commands; of a terminal session, the input."""
    lines = body.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    bare = (re.sub(r"(^|\s+)# .*", "", line).strip() for line in lines)
    return [line for line in bare if line]
