"""The tiny Parakeet streamed with various contexts: accuracy, seams and lateness, offline beside it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import report
from benchmarks.decoding import naive, stream
from benchmarks.lateness import from_partial_to_final, said_in
from echoic.engines.parakeet import Tuning
from echoic.engines.parakeet_onnx import ParakeetOnnx
from echoic.engines.silero import SileroModel
from echoic.evaluate.lateness import Passage, after_passages
from echoic.evaluate.offline import RATE, whole_window
from echoic.evaluate.scoring import Errors, Seams, errors, percentile, seams
from support.tiny_parakeet import FOLDER, recordings, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Left and right context in seconds.
CONTEXTS = ((10.0, 2.0), (4.0, 2.0), (4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (4.0, 0.5), (2.0, 0.5), (1.0, 0.5))
#: Seconds of a tape, about, and of the pauses between the recordings on it.
_TAPE = 60.0
_PAUSES = (0.15, 1.5)


@dataclass(frozen=True, slots=True)
class Tape:
    """Recordings one after the other with pauses between them."""

    audio: NDArray[np.float32]
    passages: tuple[Passage, ...]

    @property
    def reference(self) -> str:
        """What is said on it."""
        return " ".join(passage.text for passage in self.passages)


@dataclass(slots=True)
class Score:
    """Sums over the tapes for one way of decoding."""

    errors: Errors = field(default_factory=Errors)
    seams: Seams = field(default_factory=Seams)
    late: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    decoded: float = 0.0

    def add(self, reference: str, whole: str, texts: Sequence[str]) -> None:
        """Count a transcript."""
        self.errors += errors(reference, " ".join(texts))
        self.seams += seams(whole, texts)

    def row(self, name: str, offline: float, heard: float) -> list[report.Cell]:
        """Return the table's row."""
        rate, cut = self.errors.rate, self.seams
        times = [percentile(values, percent) for values in (self.late, self.waits) for percent in (50, 95)]
        known = self.late or self.waits
        return [
            name,
            rate,
            f"{rate - offline:+.2f}",
            cut.doubled,
            cut.added,
            cut.lost,
            *(times if known else [None] * len(times)),
            self.decoded / heard if self.decoded else None,
        ]


_HEADER = (
    "left / right context, s",
    "WER",
    "gap",
    "doubled",
    "added",
    "lost",
    "speech to final, s: p50",
    "p95",
    "partial to final: p50",
    "p95",
    "decoded a second",
)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    tapes = [_tape(seed) for seed in range(1 if quick else 5)]
    whole = ParakeetOnnx(FOLDER, Tuning(left_context=30.0, right_context=30.0))
    wholes = [text_of(whole.decode([whole_window(tape.audio)])[0].committed) for tape in tapes]
    offline, joined = Score(), Score()
    for tape, text in zip(tapes, wholes, strict=True):
        offline.add(tape.reference, text, [text])
        joined.add(tape.reference, text, naive(whole, tape.audio))
    heard = sum(len(tape.audio) for tape in tapes) / RATE
    base = offline.errors.rate
    rows = [offline.row("offline", base, heard), joined.row("naive join of 2.0 s windows", base, heard)]
    voice = SileroModel()
    for left, right in CONTEXTS[2:3] if quick else CONTEXTS:
        engine = ParakeetOnnx(FOLDER, Tuning(left, right))
        rows.append(_streamed(engine, voice, tapes, wholes).row(f"{left:g} / {right:g}", base, heard))
    words = f"{offline.errors.words} words in {heard:.0f} s"
    report.table(f"The tiny Parakeet through the session at 2.0/0.5, {words}", _HEADER, rows)
    report.save("parakeet", {"rows": [dict(zip(_HEADER, row, strict=True)) for row in rows]})


def _streamed(
    engine: ParakeetOnnx, voice: SileroModel, tapes: Sequence[Tape], wholes: Sequence[str]
) -> Score:
    score = Score()
    for tape, whole in zip(tapes, wholes, strict=True):
        played = stream(engine, voice, tape.audio, 0.1, partials=False)
        score.add(tape.reference, whole, played.texts)
        score.late += after_passages(tape.passages, said_in(played.finals))
        score.decoded += played.decoded
        score.waits += from_partial_to_final(stream(engine, voice, tape.audio, 0.1, partials=True).frames)[0]
    return score


def _tape(seed: int) -> Tape:
    chance = random.Random(seed)  # noqa: S311  # the same tapes each time
    parts: list[NDArray[np.float32]] = []
    passages: list[Passage] = []
    now = 0.0
    while now < _TAPE:
        audio, text = chance.choice(recordings())
        passages.append(Passage(now, now + len(audio) / RATE, text))
        parts += [audio, np.zeros(round(RATE * chance.uniform(*_PAUSES)), np.float32)]
        now += (len(parts[-2]) + len(parts[-1])) / RATE
    return Tape(np.concatenate(parts), tuple(passages))
