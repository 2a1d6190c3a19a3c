"""A list of recordings with what is said in them: TSV, CSV, or JSON lines as NeMo writes them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from echoic.evaluate.diarization import InvalidReferenceFile, read_lines

_ManifestRow = Mapping[str, object]

#: What a column may be called, the first name first.
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
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
_TERM_SEPARATORS = re.compile(r"[;,|]")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One row.

    Attributes:
        line_number: Its line in the manifest, from 1.
        path: The recording.
        reference: What is said in it; None: nobody says.
        rttm_path: The file that says who speaks when, or None.
        language: What is spoken, or None.
        rare_words: Terms to look at apart.
        offset: Seconds of the file at which it begins.
        duration: Its length; None: up to the end of the file.
    """

    line_number: int
    path: Path
    reference: str | None = None
    rttm_path: Path | None = None
    language: str | None = None
    rare_words: tuple[str, ...] = ()
    offset: float = 0.0
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that says too little, or what cannot be: its line, and why in a sentence."""

    line_number: int
    reason: str


def read_manifest(path: Path) -> list[ManifestEntry | InvalidRow]:
    """Return the rows of a manifest, in order; empty lines are none.

    Paths are relative to the manifest's folder. An empty reference in a table means that nobody says what is
    said; in JSON lines, ``"text": ""`` means that nothing is said, and null or no key that nobody says. A row
    of NeMo's with ``offset`` is that part of its file, ``duration`` long.

    Raises:
        BadReference: It cannot be read, is empty, or lacks a column that names recordings.
    """
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise InvalidReferenceFile(f"{path} is empty.")
    rows = _parse_json_rows(lines) if lines[0][1].lstrip().startswith("{") else _parse_table_rows(path, lines)
    found = [row if isinstance(row, InvalidRow) else _build_entry(path.parent, *row) for row in rows]
    if not found:
        raise InvalidReferenceFile(f"{path} has a head, but no rows.")
    return found


def _parse_json_rows(lines: list[tuple[int, str]]) -> Iterator[tuple[int, _ManifestRow] | InvalidRow]:
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            yield InvalidRow(number, "Not a JSON object.")


def _parse_table_rows(
    path: Path, lines: list[tuple[int, str]]
) -> Iterator[tuple[int, _ManifestRow] | InvalidRow]:
    """Yield the rows of a table; each is one line, so that a quotation mark in it swallows no other."""
    (head_line, head), *rest = lines
    mark = "\t" if "\t" in head or path.suffix.lower() == ".tsv" else ","
    names = _split_cells(head, mark) or []
    columns = [name.strip().lower() for name in names]
    if not set(columns) & set(COLUMN_NAMES["path"]):
        wanted = ", ".join(COLUMN_NAMES["path"])
        raise InvalidReferenceFile(f"{path}, line {head_line}: no column names recordings (one of {wanted}).")
    for number, line in rest:
        cells = _split_cells(line, mark)
        if cells is None:
            yield InvalidRow(number, "A quotation mark is not closed.")
        elif len(cells) != len(columns):
            yield InvalidRow(number, f"{len(cells)} cells in {len(columns)} columns.")
        else:
            yield number, {name: cell for name, cell in zip(columns, cells, strict=True) if cell.strip()}


def _split_cells(line: str, delimiter: str) -> list[str] | None:
    try:
        [cells] = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        # In tab-separated text a quotation mark may be no more than that.
        return line.split(delimiter) if delimiter == "\t" else None
    return cells


def _build_entry(folder: Path, line_number: int, row: _ManifestRow) -> ManifestEntry | InvalidRow:
    try:
        path, rttm = _parse_text(row, "path"), _parse_text(row, "rttm")
        if not path:
            return InvalidRow(line_number, "It names no recording.")
        offset = _parse_seconds(row, "offset")
        return ManifestEntry(
            line_number,
            folder / path,
            _parse_text(row, "reference"),
            folder / rttm if rttm else None,
            _parse_text(row, "language") or None,
            _parse_terms(row),
            offset or 0.0,
            None if offset is None else _parse_seconds(row, "duration"),
        )
    except ValueError as error:
        return InvalidRow(line_number, str(error))


def _find_value(row: _ManifestRow, column: str) -> tuple[str, object]:
    return next(((name, row[name]) for name in COLUMN_NAMES[column] if row.get(name) is not None), ("", None))


def _parse_text(row: _ManifestRow, column: str) -> str | None:
    name, value = _find_value(row, column)
    if value is None or (isinstance(value, str) and _is_encodable_text(value)):
        return value.strip() if value else value
    raise ValueError(f"{name} is not text.")


def _is_encodable_text(value: str) -> bool:
    """Return whether it can be printed and written: JSON knows halves of characters."""
    return "\0" not in value and value.encode(errors="replace").decode() == value


def _parse_seconds(row: _ManifestRow, column: str) -> float | None:
    name, value = _find_value(row, column)
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


def _parse_terms(row: _ManifestRow) -> tuple[str, ...]:
    name, value = _find_value(row, "rare_words")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else _TERM_SEPARATORS.split(value)
        except ValueError:
            raise ValueError(f"{name} is not a list of words.") from None
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(term, str) and _is_encodable_text(term) for term in value):
        return tuple(term.strip() for term in value if term.strip())
    raise ValueError(f"{name} is not a list of words.")
