"""Streams through the tiny Parakeet with various contexts: accuracy, seams and delays against offline."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.silero import SileroModel
from echoic.evaluate.metrics import (
    EditCounts,
    ReferenceUtterance,
    SeamErrors,
    count_seam_errors,
    count_word_errors,
    measure_latencies,
    percentile,
)
from echoic.evaluate.offline import SAMPLE_RATE, build_whole_window
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, join_tokens, read_recordings
from tools.benchmarks import report
from tools.benchmarks.decoding import decode_naively, stream_through_session
from tools.benchmarks.word_delays import collect_words, measure_final_delays

#: Left and right context in seconds.
CONTEXTS = ((10.0, 2.0), (4.0, 2.0), (4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (4.0, 0.5), (2.0, 0.5), (1.0, 0.5))
#: Approximate seconds of joined recordings, and of the pauses between them.
_TAPE = 60.0
_PAUSES = (0.15, 1.5)


@dataclass(frozen=True, slots=True)
class LongRecording:
    """Recordings joined with pauses between them."""

    audio: NDArray[np.float32]
    passages: tuple[ReferenceUtterance, ...]

    @property
    def reference(self) -> str:
        """The text of all recordings."""
        return " ".join(passage.text for passage in self.passages)


@dataclass(slots=True)
class ContextScore:
    """Totals over the joined recordings for one way of decoding."""

    errors: EditCounts = field(default_factory=EditCounts)
    seams: SeamErrors = field(default_factory=SeamErrors)
    late: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    decoded: float = 0.0

    def add_transcript(self, reference: str, whole: str, texts: Sequence[str]) -> None:
        """Add a transcript to the totals."""
        self.errors += count_word_errors(reference, " ".join(texts))
        self.seams += count_seam_errors(whole, texts)

    def build_row(self, name: str, offline: float, heard: float) -> list[report.Cell]:
        """Return the row of the table."""
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
    tapes = [_build_recording(seed) for seed in range(1 if quick else 5)]
    whole = ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left_context=30.0, right_context=30.0))
    wholes = [join_tokens(whole.decode([build_whole_window(tape.audio)])[0].committed) for tape in tapes]
    offline, joined = ContextScore(), ContextScore()
    for tape, text in zip(tapes, wholes, strict=True):
        offline.add_transcript(tape.reference, text, [text])
        joined.add_transcript(tape.reference, text, decode_naively(whole, tape.audio))
    heard = sum(len(tape.audio) for tape in tapes) / SAMPLE_RATE
    base = offline.errors.rate
    rows = [
        offline.build_row("offline", base, heard),
        joined.build_row("naive join of 2.0 s windows", base, heard),
    ]
    voice = SileroModel()
    for left, right in CONTEXTS[2:3] if quick else CONTEXTS:
        engine = ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left, right))
        rows.append(
            _score_streamed(engine, voice, tapes, wholes).build_row(f"{left:g} / {right:g}", base, heard)
        )
    words = f"{offline.errors.reference_length} words in {heard:.0f} s"
    report.print_table(f"The tiny Parakeet through the session at 2.0/0.5, {words}", _HEADER, rows)
    report.save_results("parakeet", {"rows": [dict(zip(_HEADER, row, strict=True)) for row in rows]})


def _score_streamed(
    engine: ParakeetOnnx, voice: SileroModel, tapes: Sequence[LongRecording], wholes: Sequence[str]
) -> ContextScore:
    score = ContextScore()
    for tape, whole in zip(tapes, wholes, strict=True):
        played = stream_through_session(engine, voice, tape.audio, 0.1, partials=False)
        score.add_transcript(tape.reference, whole, played.texts)
        score.late += measure_latencies(tape.passages, collect_words(played.finals))
        score.decoded += played.decoded_seconds
        score.waits += measure_final_delays(
            stream_through_session(engine, voice, tape.audio, 0.1, partials=True).frames
        )[0]
    return score


def _build_recording(seed: int) -> LongRecording:
    chance = random.Random(seed)  # noqa: S311  # reproducible, not a secret
    parts: list[NDArray[np.float32]] = []
    passages: list[ReferenceUtterance] = []
    now = 0.0
    while now < _TAPE:
        audio, text = chance.choice(read_recordings())
        passages.append(ReferenceUtterance(now, now + len(audio) / SAMPLE_RATE, text))
        parts += [audio, np.zeros(round(SAMPLE_RATE * chance.uniform(*_PAUSES)), np.float32)]
        now += (len(parts[-2]) + len(parts[-1])) / SAMPLE_RATE
    return LongRecording(np.concatenate(parts), tuple(passages))
