"""Which voices are where in some seconds of sound, also two at once: segmentation-3.0 by onnxruntime.

Source of the model: https://huggingface.co/pyannote/segmentation-3.0 (MIT); docs/decisions/0020 says how its
file is made. It was trained on 10 s and knows three voices at a time, two of them at once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.fbank import HOP_SAMPLES
from echoic.engines.onnx_runtime import PackagedOnnxModel

#: Seconds that it hears at once.
MAX_INPUT_SECONDS = 10.0
#: Samples from one answer of the network to the next, and the middle of the first.
_STEP_SAMPLES, _FIRST_MIDDLE_SAMPLE = 270, 495
#: Samples below which there is no answer.
_MIN_SAMPLES = 1_600
#: The network's classes: which voices speak.
_CLASS_VOICES = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.bool_
)


class Segmenter(Protocol):
    """A loaded model of turns; called from several threads at once."""

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which voices speak in each 10 ms; their numbers mean something within the answer only.

        Args:
            audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1, at most ``MAX_INPUT_SECONDS``.

        Returns:
            Shape ``(frames, voices)``; the last frame may be short.
        """


class PyanNet(PackagedOnnxModel):
    """segmentation-3.0."""

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which of three voices speak in each 10 ms."""
        frames = -(-audio.size // HOP_SAMPLES)
        if audio.size < _MIN_SAMPLES:
            return np.zeros((frames, _CLASS_VOICES.shape[1]), np.bool_)
        (classes,) = self._onnx_session.run(None, {"audio": audio[np.newaxis, np.newaxis]})
        middles = np.arange(frames) * HOP_SAMPLES + HOP_SAMPLES / 2
        nearest = np.clip(
            np.rint((middles - _FIRST_MIDDLE_SAMPLE) / _STEP_SAMPLES), 0, len(classes) - 1
        ).astype(np.intp)
        found: NDArray[np.bool_] = _CLASS_VOICES[classes[:, 0].argmax(axis=-1)][nearest]
        return found
