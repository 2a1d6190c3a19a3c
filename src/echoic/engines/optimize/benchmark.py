"""Trying out a form of a Parakeet on this machine: what a window costs, and which tokens it hears."""

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

#: Seconds of a window and windows together that the encoder is timed with.
BENCHMARK_CASES = ((2.5, 1), (2.5, 4), (5.0, 4))
_REPEATS = 3


@dataclass(frozen=True, slots=True)
class FormTrial:
    """What came of trying out a form.

    Attributes:
        encoder: Its encoder's file.
        size: Bytes of that, large tensors beside it included.
        milliseconds: Of one core for one window, for each of ``BENCHMARK_CASES``.
        tokens: What was heard in each recording.
        networks: The names of its decoding networks' files.
    """

    encoder: Path
    size: int
    milliseconds: tuple[float, ...]
    tokens: tuple[tuple[str, ...], ...]
    networks: tuple[str, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether its decoding networks were cut."""
        return len(self.networks) > 1

    def compare_cost(self, other: FormTrial) -> float:
        """Return the time this takes for each unit of time that ``other`` takes, over all cases."""
        return float(np.exp(np.mean(np.log(np.divide(self.milliseconds, other.milliseconds)))))

    def measure_agreement(self, other: FormTrial) -> float | None:
        """Return how much of the tokens is the same, 0..1; None: nobody heard anything."""
        mine, theirs = ([token for one in trial.tokens for token in one] for trial in (self, other))
        return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() if mine or theirs else None


def run_trial(files: OnnxModelFiles, audio: Sequence[NDArray[np.float32]]) -> FormTrial:
    """Load a form, time its encoder and let it hear recordings; it is released again.

    Args:
        files: The form.
        audio: float32, 16 kHz, -1..1; each is heard as one window.

    Raises:
        ModelUnavailable: It cannot be loaded.
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
    return FormTrial(files.encoder, measure_graph_size(files.encoder), times, tuple(tokens), names)


def measure_graph_size(file: Path) -> int:
    """Return the bytes of a graph, large tensors beside it included."""
    return sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.is_file())


def _measure_milliseconds(encoder: ParakeetEncoder, bands: int, seconds: float, windows: int) -> float:
    """Return what a window costs, the least of some tries: noise that comes and goes, like speech."""
    frames = round(seconds * SAMPLE_RATE / HOP_SAMPLES / PADDING_MULTIPLE) * PADDING_MULTIPLE
    noise = np.random.default_rng(0).normal(size=(windows, bands, frames)).astype(np.float32)
    whole = [
        MelFeatures(noise[first:end], np.full(end - first, frames, np.int64))
        for first, end in ([(0, windows)] if encoder.can_batch else [(n, n + 1) for n in range(windows)])
    ]
    least = np.inf
    for _ in range(_REPEATS):
        began = time.process_time()
        for features in whole:
            encoder.encode(features)
        least = min(least, time.process_time() - began)
    return float(1000 * least / windows)
