"""Speaker embeddings by a model of pyannote.audio (extra ``pyannote``), for the online diarizer.

Source: https://github.com/pyannote/pyannote-audio; the weights of its pipelines' model,
``pyannote/wespeaker-voxceleb-resnet34-LM`` (CC-BY-4.0), are downloaded by hand: a folder or a checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.online import DiarizerConfig
from echoic.diarization.speaker_ids import SpeakerClusteringConfig
from echoic.errors import ModelUnavailable

NAME = "pyannote"
#: Clustering for that model: 1 minus the distance at which pyannote's pipeline cuts clusters.
#: Source: https://huggingface.co/pyannote/speaker-diarization-3.1 (``config.yaml``, ``threshold``).
CONFIG = DiarizerConfig(clustering=SpeakerClusteringConfig(min_similarity=1 - 0.7046))


class PyannoteEmbedder:
    """An embedding model of pyannote.audio.

    Args:
        model: Folder or checkpoint of the model.

    Raises:
        ModelUnavailable: The file cannot be read or holds no model.
    """

    def __init__(self, model: Path) -> None:
        import torch  # noqa: PLC0415  # optional package, slow to import
        from pyannote.audio import Model  # noqa: PLC0415  # optional package, slow to import

        try:
            loaded = Model.from_pretrained(model)
        except Exception as error:
            raise ModelUnavailable(NAME, f"pyannote.audio cannot read {model.name}.") from error
        if loaded is None:
            raise ModelUnavailable(NAME, f"pyannote.audio finds no model in {model.name}.")
        self._model, self._torch = loaded.eval(), torch

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return a unit vector for each window: float32, shape ``(len(windows), size)``."""
        by_size: dict[int, list[int]] = defaultdict(list)
        for index, (start, end) in enumerate(windows):
            by_size[end - start].append(index)
        embeddings: dict[int, NDArray[np.float32]] = {}
        for indices in by_size.values():
            batch = np.stack([audio[slice(*windows[index])] for index in indices])
            with self._torch.inference_mode():
                vectors = self._model(self._torch.from_numpy(batch)[:, None]).numpy()
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            embeddings |= zip(indices, vectors, strict=True)
        return np.stack([embeddings[index] for index in range(len(windows))])
