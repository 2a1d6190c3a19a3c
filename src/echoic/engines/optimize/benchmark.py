"""Measures the encoder's speed and the recognized tokens of a Parakeet in ONNX on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.engine import PADDING_MULTIPLE, Parakeet, ParakeetEncoder, ParakeetOptions
from echoic.engines.parakeet.features import HOP_SAMPLES, SAMPLE_RATE, MelFeatures
from echoic.engines.parakeet.onnx import OnnxOptions, load_onnx_model
from echoic.engines.parakeet.onnx_files import OnnxModelFiles
from echoic.interfaces.engine import Window

#: Seconds of a window and windows per batch that the encoder is timed with.
BENCHMARK_CASES = ((2.5, 1), (2.5, 4), (5.0, 4))
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class ModelTrial:
    """Measurements of one set of model files."""

    encoder: Path
    size: int
    """Bytes of the encoder, external tensors included."""
    milliseconds: tuple[float, ...]
    """Processor time per window, one for each of ``BENCHMARK_CASES``."""
    tokens: tuple[tuple[str, ...], ...]
    """Recognized tokens of each recording."""
    networks: tuple[str, ...] = ()
    """Names of the decoding networks' files."""

    @property
    def is_split(self) -> bool:
        """Whether the decoding networks are three files."""
        return len(self.networks) > 1

    def compare_cost(self, other: ModelTrial) -> float:
        """Return this trial's time divided by the other's: the geometric mean over all cases."""
        return float(np.exp(np.mean(np.log(np.divide(self.milliseconds, other.milliseconds)))))

    def measure_agreement(self, other: ModelTrial) -> float | None:
        """Return the share of equal tokens, 0..1, or None if neither recognized anything."""
        mine, theirs = ([token for one in trial.tokens for token in one] for trial in (self, other))
        return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() if mine or theirs else None


def run_trial(files: OnnxModelFiles, audio: Sequence[NDArray[np.float32]]) -> ModelTrial:
    """Load a model, time its encoder, transcribe recordings and release the model.

    Args:
        files: The model's files.
        audio: Recordings, float32, 16 kHz, -1..1; each is decoded as one window.

    Raises:
        ModelUnavailable: The model cannot be loaded.
    """
    model = load_onnx_model(files, OnnxOptions())
    times = tuple(_measure_milliseconds(model.encoder, files.bands, *case) for case in BENCHMARK_CASES)
    engine = Parakeet(model, ParakeetOptions())
    tokens = []
    for recording in audio:
        window = Window(
            recording,
            SAMPLE_RATE,
            0.0,
            left_context=0,
            new_samples=recording.size,
            right_context=0,
            is_last=True,
        )
        (hypothesis,) = engine.decode([window])
        tokens.append(tuple(token.text for token in hypothesis.committed))
    networks = files.split_joint or ((files.joint,) if files.joint else ())
    names = tuple(file.name for file in networks)
    return ModelTrial(files.encoder, measure_graph_size(files.encoder), times, tuple(tokens), names)


def measure_graph_size(file: Path) -> int:
    """Return the bytes of an ONNX file, external tensors included."""
    return sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.is_file())


def _measure_milliseconds(encoder: ParakeetEncoder, bands: int, seconds: float, windows: int) -> float:
    """Return the processor time per window: the least of several runs on noise."""
    frames = round(seconds * SAMPLE_RATE / HOP_SAMPLES / PADDING_MULTIPLE) * PADDING_MULTIPLE
    noise = np.random.default_rng(0).normal(size=(windows, bands, frames)).astype(np.float32)
    batch_size = windows if encoder.can_batch else 1
    batches = [
        MelFeatures(noise[first : first + batch_size], np.full(batch_size, frames, np.int64))
        for first in range(0, windows, batch_size)
    ]
    least = np.inf
    for _ in range(_REPEATS):
        began = time.process_time()
        for features in batches:
            encoder.encode(features)
        least = min(least, time.process_time() - began)
    return float(1000 * least / windows)
