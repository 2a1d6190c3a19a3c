"""A list of recordings with what is said in them: TSV, CSV, or JSON lines as NeMo writes them."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from echoic.evaluate.rttm import BadReference, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    _Row = Mapping[str, object]

#: What a column may be called, the first name first.
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "path": ("path", "audio_filepath", "audio", "file"),
        "reference": ("reference", "text", "transcript", "sentence"),
        "rttm": ("rttm", "rttm_filepath"),
        "language": ("language", "lang", "target_lang"),
        "rare_words": ("rare_words",),
        "offset": ("offset",),
        "duration": ("duration",),
    }
)
_BETWEEN_TERMS = re.compile(r"[;,|]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.

    Attributes:
        line: Its line in the manifest, from 1.
        path: The recording.
        reference: What is said in it; None: nobody says.
        rttm: The file that says who speaks when, or None.
        language: What is spoken, or None.
        rare_words: Terms to look at apart.
        offset: Seconds of the file at which it begins.
        seconds: Its length; None: up to the end of the file.
    """

    line: int
    path: Path
    reference: str | None = None
    rttm: Path | None = None
    language: str | None = None
    rare_words: tuple[str, ...] = ()
    offset: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that says too little, or what cannot be: its line, and why in a sentence."""

    line: int
    reason: str


def read_manifest(path: Path) -> list[Entry | BadRow]:
    """Return the rows of a manifest, in order; empty lines are none.

    Paths are relative to the manifest's folder. An empty reference in a table means that nobody says what is
    said; in JSON lines, ``"text": ""`` means that nothing is said, and null or no key that nobody says. A row
    of NeMo's with ``offset`` is that part of its file, ``duration`` long.

    Raises:
        BadReference: It cannot be read, is empty, or lacks a column that names recordings.
    """
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise BadReference(f"{path} is empty.")
    rows = _json_rows(lines) if lines[0][1].lstrip().startswith("{") else _table_rows(path, lines)
    found = [row if isinstance(row, BadRow) else _entry(path.parent, *row) for row in rows]
    if not found:
        raise BadReference(f"{path} has a head, but no rows.")
    return found


def _json_rows(lines: list[tuple[int, str]]) -> Iterator[tuple[int, _Row] | BadRow]:
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            yield BadRow(number, "Not a JSON object.")


def _table_rows(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, _Row] | BadRow]:
    """Yield the rows of a table; each is one line, so that a quotation mark in it swallows no other."""
    (head_line, head), *rest = lines
    mark = "\t" if "\t" in head or path.suffix.lower() == ".tsv" else ","
    names = _cells(head, mark) or []
    columns = [name.strip().lower() for name in names]
    if not set(columns) & set(COLUMNS["path"]):
        wanted = ", ".join(COLUMNS["path"])
        raise BadReference(f"{path}, line {head_line}: no column names recordings (one of {wanted}).")
    for number, line in rest:
        cells = _cells(line, mark)
        if cells is None:
            yield BadRow(number, "A quotation mark is not closed.")
        elif len(cells) != len(columns):
            yield BadRow(number, f"{len(cells)} cells in {len(columns)} columns.")
        else:
            yield number, {name: cell for name, cell in zip(columns, cells, strict=True) if cell.strip()}


def _cells(line: str, mark: str) -> list[str] | None:
    try:
        [cells] = csv.reader([line], delimiter=mark, strict=True)
    except (csv.Error, ValueError):
        # In tab-separated text a quotation mark may be no more than that.
        return line.split(mark) if mark == "\t" else None
    return cells


def _entry(folder: Path, line: int, row: _Row) -> Entry | BadRow:
    try:
        path, rttm = _text(row, "path"), _text(row, "rttm")
        if not path:
            return BadRow(line, "It names no recording.")
        offset = _number(row, "offset")
        return Entry(
            line,
            folder / path,
            _text(row, "reference"),
            folder / rttm if rttm else None,
            _text(row, "language") or None,
            _terms(row),
            offset or 0.0,
            None if offset is None else _number(row, "duration"),
        )
    except ValueError as error:
        return BadRow(line, str(error))


def _value(row: _Row, column: str) -> tuple[str, object]:
    return next(((name, row[name]) for name in COLUMNS[column] if row.get(name) is not None), ("", None))


def _text(row: _Row, column: str) -> str | None:
    name, value = _value(row, column)
    if value is None or (isinstance(value, str) and _is_text(value)):
        return value.strip() if value else value
    raise ValueError(f"{name} is not text.")


def _is_text(value: str) -> bool:
    """Return whether it can be printed and written: JSON knows halves of characters."""
    return "\0" not in value and value.encode(errors="replace").decode() == value


def _number(row: _Row, column: str) -> float | None:
    name, value = _value(row, column)
    if value is None:
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and number >= 0:
            return number
    raise ValueError(f"{name} is not a time in seconds.")


def _terms(row: _Row) -> tuple[str, ...]:
    name, value = _value(row, "rare_words")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else _BETWEEN_TERMS.split(value)
        except ValueError:
            raise ValueError(f"{name} is not a list of words.") from None
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(term, str) and _is_text(term) for term in value):
        return tuple(term.strip() for term in value if term.strip())
    raise ValueError(f"{name} is not a list of words.")
