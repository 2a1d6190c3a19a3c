"""Real recordings with references: a folder with ``manifest.tsv`` and RTTM files beside the audio."""

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

#: Seconds by which a clip and its place in a longer recording may differ in length.
_SAME_LENGTH = 0.002


@dataclass(frozen=True, slots=True)
class BenchmarkRecording:
    """A recording: its file, what is said in it, and its passages in order (if an RTTM file tells them)."""

    path: Path
    reference: str
    seconds: float
    passages: tuple[ReferenceUtterance, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def load_audio(self) -> NDArray[np.float32]:
        """Return the samples: float32, shape ``(n,)``, mono, 16 kHz, -1..1."""
        return np.concatenate(list(read_audio(self.path, SAMPLE_RATE)))


def find_speech_folder() -> Path | None:
    """Return the folder of the recordings: ``ECHOIC_SPEECH`` or ``../shared/speech``; None: none."""
    folder = Path(os.environ.get("ECHOIC_SPEECH") or ROOT.parent / "shared" / "speech")
    return folder if (folder / "manifest.tsv").is_file() else None


def load_recordings(folder: Path) -> list[BenchmarkRecording]:
    """Return the recordings of a folder that have a reference and are there."""
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
    """Return those whose names begin with one of these."""
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
