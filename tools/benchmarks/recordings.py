"""Loads real recordings with references from a folder with ``manifest.tsv`` and RTTM files."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.evaluate.diarization import read_rttm
from echoic.evaluate.metrics import ReferenceUtterance
from echoic.evaluate.offline import SAMPLE_RATE
from echoic.media import read_audio
from tools.benchmarks.report import ROOT

#: Largest difference in length between a clip and its place in a longer recording, in seconds.
_SAME_LENGTH = 0.002


@dataclass(frozen=True, slots=True)
class BenchmarkRecording:
    """A recording with its text, and its passages in order if there is an RTTM file."""

    path: Path
    reference: str
    seconds: float
    passages: tuple[ReferenceUtterance, ...]

    @property
    def name(self) -> str:
        """The name of the file without its suffix."""
        return self.path.stem

    def load_audio(self) -> NDArray[np.float32]:
        """Return the samples: float32, shape ``(n,)``, mono, 16 kHz, -1..1."""
        return np.concatenate(list(read_audio(self.path, SAMPLE_RATE)))


def find_speech_folder() -> Path | None:
    """Return ``ECHOIC_SPEECH`` or ``../shared/speech`` if it has a manifest, else None."""
    folder = Path(os.environ.get("ECHOIC_SPEECH") or ROOT.parent / "shared" / "speech")
    return folder if (folder / "manifest.tsv").is_file() else None


def load_recordings(folder: Path) -> list[BenchmarkRecording]:
    """Return the existing recordings of a folder that have a reference."""
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    clips = {(row["speakers"], float(row["duration_s"])): row["reference"] for row in rows if not row["rttm"]}
    return [
        BenchmarkRecording(
            folder / row["path"],
            row["reference"],
            float(row["duration_s"]),
            _read_passages((folder / row["path"]).with_suffix(".rttm"), clips),
        )
        for row in rows
        if row["reference"] and (folder / row["path"]).is_file()
    ]


def filter_by_name(found: Sequence[BenchmarkRecording], *beginnings: str) -> list[BenchmarkRecording]:
    """Return the recordings whose names begin with one of ``beginnings``."""
    return [recording for recording in found if recording.name.startswith(beginnings)]


def _read_passages(rttm: Path, clips: dict[tuple[str, float], str]) -> tuple[ReferenceUtterance, ...]:
    """Return the passages of an RTTM file, with the words of the clip of the same speaker and length."""
    if not rttm.is_file():
        return ()
    found = []
    for turn in read_rttm(rttm):
        seconds = turn.end - turn.start
        words = (
            text
            for (who, length), text in clips.items()
            if who == turn.speaker and abs(length - seconds) < _SAME_LENGTH
        )
        found.append(ReferenceUtterance(turn.start, turn.end, next(words, "")))
    return tuple(found)
