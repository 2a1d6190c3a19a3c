"""Who speaks when, as RTTM files tell it.

Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The place of a line's fields.
_FILE_FIELD, _START_FIELD, _SECONDS_FIELD, _SPEAKER_FIELD = 1, 3, 4, 7


class InvalidReferenceFile(ValueError):
    """A file of references that cannot be used; the message is a sentence that names file and line."""


@dataclass(frozen=True, slots=True)
class LabeledTurn:
    """One speaker from ``start`` to ``end``, in seconds; turns may overlap."""

    start: float
    end: float
    speaker: str


def read_rttm(path: Path) -> tuple[LabeledTurn, ...]:
    """Return a recording's turns in order of their beginnings.

    A file may tell of several recordings: then the lines that bear this file's own name count.

    Raises:
        BadReference: The file cannot be read, a line is not as it should be, or none is about this recording.
    """
    turns: dict[str, list[LabeledTurn]] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            turns.setdefault(fields[_FILE_FIELD] if len(fields) > 1 else "", []).append(
                _parse_turn(path, number, fields)
            )
    found = turns.get(path.stem) or (next(iter(turns.values())) if len(turns) == 1 else None)
    if found is None:
        raise InvalidReferenceFile(f"{path} says of nobody when they speak in {path.stem}.")
    return tuple(sorted(found, key=lambda turn: (turn.start, turn.end)))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file in UTF-8.

    Raises:
        BadReference: It cannot be read, or is in another coding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidReferenceFile(
            f"{path} cannot be read: {(error.strerror or 'no reason given').lower()}."
        ) from None
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidReferenceFile(f"{path}, line {line}: not UTF-8.") from None


def _parse_turn(path: Path, number: int, fields: list[str]) -> LabeledTurn:
    try:
        start, seconds, speaker = (
            float(fields[_START_FIELD]),
            float(fields[_SECONDS_FIELD]),
            fields[_SPEAKER_FIELD],
        )
    except (IndexError, ValueError):
        raise InvalidReferenceFile(f"{path}, line {number}: not a line of RTTM.") from None
    if not (math.isfinite(start) and math.isfinite(seconds)) or start < 0 or seconds < 0:
        raise InvalidReferenceFile(f"{path}, line {number}: no such time.")
    return LabeledTurn(start, start + seconds, speaker)
