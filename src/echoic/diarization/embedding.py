"""Voices as vectors: what an embedding model promises, and CAM++ by onnxruntime.

Source of the model: https://github.com/modelscope/3D-Speaker, CAM++ trained on 200,000 speakers
(``speech_campplus_sv_zh_en_16k-common_advanced``, Apache-2.0); docs/decisions/0020 says how its file is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.fbank import HOP_SAMPLES, compute_fbank
from echoic.engines.onnx_runtime import PackagedOnnxModel

#: Seconds of the longest window: the graph sums up longer ones otherwise than its original.
MAX_WINDOW_SECONDS = 2.0
#: Windows of one call; more are no cheaper each.
_MAX_BATCH_SIZE = 8


class Embedder(Protocol):
    """A loaded model of voices; called from several threads at once."""

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return one vector of length 1 for each window: the closer two are, the more alike the voices.

        Args:
            audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
            windows: Where each begins and ends, in samples; at least 0.2 s and at most ``MAX_WINDOW_SECONDS``.

        Returns:
            float32, shape ``(len(windows), any)``.
        """


class CamPlusPlus(PackagedOnnxModel):
    """CAM++."""

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return one vector for each window: float32, shape ``(len(windows), 192)``, of length 1."""
        energies = compute_fbank(audio)
        alike: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, (start, end) in enumerate(windows):
            first = start // HOP_SAMPLES
            size = min((end - start) // HOP_SAMPLES - 2, len(energies) - first)  # the last frames end outside
            alike[size].append((place, first))
        found: dict[int, NDArray[np.float32]] = {}
        for size, ones in alike.items():
            for at in range(0, len(ones), _MAX_BATCH_SIZE):
                some = ones[at : at + _MAX_BATCH_SIZE]
                batch = np.stack([energies[first : first + size] for _, first in some])
                found |= zip([place for place, _ in some], self._run_batch(batch), strict=True)
        return np.stack([found[place] for place in range(len(windows))]) if found else _NO_EMBEDDINGS

    def _run_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        level = batch - batch.mean(axis=1, keepdims=True)
        (vectors,) = self._onnx_session.run(None, {"features": level})
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


_NO_EMBEDDINGS: NDArray[np.float32] = np.zeros((0, 192), np.float32)
