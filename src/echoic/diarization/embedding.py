"""Speaker embeddings: the interface of a model, and CAM++ by onnxruntime.

Source of the model: https://github.com/modelscope/3D-Speaker, CAM++ trained on 200,000 speakers
(``speech_campplus_sv_zh_en_16k-common_advanced``, Apache-2.0); docs/decisions/0020 describes its conversion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.fbank import HOP_SAMPLES, compute_fbank
from echoic.engines.onnx_runtime import PackagedOnnxModel

#: Longest window in seconds; on longer ones the converted graph differs from the original.
MAX_WINDOW_SECONDS = 2.0
#: Windows of one call; larger batches are no faster per window.
_MAX_BATCH_SIZE = 8


class Embedder(Protocol):
    """A loaded embedding model; called from several threads at once."""

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return a unit vector for each window; similar voices have a high cosine.

        Args:
            audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
            windows: Start and end of each in samples; from 0.2 s to ``MAX_WINDOW_SECONDS`` long.

        Returns:
            float32, shape ``(len(windows), size)``.
        """


class CamPlusPlus(PackagedOnnxModel):
    """The embedding model CAM++."""

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return a unit vector for each window: float32, shape ``(len(windows), 192)``."""
        energies = compute_fbank(audio)
        by_size: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, (start, end) in enumerate(windows):
            first = start // HOP_SAMPLES
            size = min((end - start) // HOP_SAMPLES - 2, len(energies) - first)  # the last frames end outside
            by_size[size].append((index, first))
        embeddings: dict[int, NDArray[np.float32]] = {}
        for size, windows_of_size in by_size.items():
            for offset in range(0, len(windows_of_size), _MAX_BATCH_SIZE):
                batch = windows_of_size[offset : offset + _MAX_BATCH_SIZE]
                features = np.stack([energies[first : first + size] for _, first in batch])
                embeddings |= zip([index for index, _ in batch], self._run_batch(features), strict=True)
        return (
            np.stack([embeddings[index] for index in range(len(windows))]) if embeddings else _NO_EMBEDDINGS
        )

    def _run_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        level = batch - batch.mean(axis=1, keepdims=True)
        (vectors,) = self._onnx_session.run(None, {"features": level})
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


_NO_EMBEDDINGS: NDArray[np.float32] = np.zeros((0, 192), np.float32)
