"""Reads manifests: lists of recordings with references, as TSV, CSV or NeMo's JSON lines."""

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

#: Accepted names of each column; the first one is preferred.
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
    """A valid row of a manifest."""

    #: Its line in the manifest, from 1.
    line_number: int
    #: The recording.
    path: Path
    #: The spoken text, or None if unknown.
    reference: str | None = None
    #: The RTTM file with the speaker turns, or None.
    rttm_path: Path | None = None
    #: The spoken language, or None.
    language: str | None = None
    #: Terms whose errors are counted separately.
    rare_words: tuple[str, ...] = ()
    #: Where the recording begins in its file, in seconds.
    offset: float = 0.0
    #: Its length in seconds. None means that it lasts until the end of the file.
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """An incomplete or invalid row: its line, and the reason as a sentence."""

    line_number: int
    reason: str


def read_manifest(path: Path) -> list[ManifestEntry | InvalidRow]:
    """Return the rows of a manifest in order, without empty lines.

    Paths are relative to the manifest's folder. An empty reference in a table is unknown. In JSON lines,
    ``"text": ""`` means silence, and null or a missing key means unknown. A row with ``offset`` is the part
    of its file from there on, ``duration`` long.

    Raises:
        InvalidReferenceFile: The file cannot be read, is empty, or has no column with recordings.
    """
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    if not lines:
        raise InvalidReferenceFile(f"{path} is empty.")
    rows = _parse_json_rows(lines) if lines[0][1].lstrip().startswith("{") else _parse_table_rows(path, lines)
    found = [row if isinstance(row, InvalidRow) else _build_entry(path.parent, *row) for row in rows]
    if not found:
        raise InvalidReferenceFile(f"{path} has a header but no rows.")
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
    """Yield the rows of a table. Each is one line, so an open quotation mark affects no other row."""
    (head_line, head), *rest = lines
    mark = "\t" if "\t" in head or path.suffix.lower() == ".tsv" else ","
    names = _split_cells(head, mark) or []
    columns = [name.strip().lower() for name in names]
    if not set(columns) & set(COLUMN_NAMES["path"]):
        wanted = ", ".join(COLUMN_NAMES["path"])
        raise InvalidReferenceFile(
            f"{path}, line {head_line}: no column with recordings (expected one of {wanted})."
        )
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
        # In tab-separated text a quotation mark may be a plain character.
        return line.split(delimiter) if delimiter == "\t" else None
    return cells


def _build_entry(folder: Path, line_number: int, row: _ManifestRow) -> ManifestEntry | InvalidRow:
    try:
        path, rttm = _parse_text(row, "path"), _parse_text(row, "rttm")
        if not path:
            return InvalidRow(line_number, "The row has no path of a recording.")
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
    raise ValueError(f"{name} must be text.")


def _is_encodable_text(value: str) -> bool:
    """Return whether text can be printed and written: JSON may contain lone surrogates."""
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
    raise ValueError(f"{name} must be a number of seconds from 0.")


def _parse_terms(row: _ManifestRow) -> tuple[str, ...]:
    name, value = _find_value(row, "rare_words")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else _TERM_SEPARATORS.split(value)
        except ValueError:
            raise ValueError(f"{name} must be a list of words.") from None
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(term, str) and _is_encodable_text(term) for term in value):
        return tuple(term.strip() for term in value if term.strip())
    raise ValueError(f"{name} must be a list of words.")
