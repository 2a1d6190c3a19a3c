"""Speaker segmentation: the interface of a model, and pyannote's segmentation-3.0 by onnxruntime.

Source of the model: https://huggingface.co/pyannote/segmentation-3.0 (MIT); docs/decisions/0020 describes
its conversion. It was trained on 10 s of audio and separates three voices, two of them at a time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.fbank import HOP_SAMPLES
from echoic.engines.onnx_runtime import PackagedOnnxModel

#: Longest input in seconds.
MAX_INPUT_SECONDS = 10.0
#: Samples from one output frame to the next, and the middle of the first.
_STEP_SAMPLES, _FIRST_MIDDLE_SAMPLE = 270, 495
#: Shortest input in samples.
_MIN_SAMPLES = 1_600
#: The active voices of each output class.
_CLASS_VOICES = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.bool_
)


class Segmenter(Protocol):
    """A loaded segmentation model; called from several threads at once."""

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the active voices in each 10 ms; the order of voices holds for this call only.

        Args:
            audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1, at most ``MAX_INPUT_SECONDS``.

        Returns:
            bool, shape ``(frames, voices)``; the last frame may be short.
        """


class PyanNet(PackagedOnnxModel):
    """The segmentation model segmentation-3.0."""

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the active ones of three voices in each 10 ms."""
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
