"""The embedder over stand-ins for torch and pyannote.audio, which the tests do not install."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.diarization.pyannote import PyannoteEmbedder
from echoic.errors import ModelUnavailable

RATE = 16_000


class Model:
    """Returns the loudness and the length of each window; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def eval(self) -> "Model":
        return self

    def __call__(self, batch: NDArray[np.float32]) -> SimpleNamespace:
        self.batches.append(batch.shape)
        loudness = np.abs(batch[:, 0]).mean(axis=1)
        vectors = np.stack([loudness, np.full(len(batch), batch.shape[-1] / RATE)], axis=1)
        return SimpleNamespace(numpy=lambda: vectors)


def install(monkeypatch: pytest.MonkeyPatch, found: object) -> None:
    torch, audio = ModuleType("torch"), ModuleType("pyannote.audio")
    vars(torch).update(inference_mode=nullcontext, from_numpy=lambda array: array)

    def from_pretrained(_: Path) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    vars(audio)["Model"] = SimpleNamespace(from_pretrained=from_pretrained)
    for name, module in (("torch", torch), ("pyannote", ModuleType("pyannote")), ("pyannote.audio", audio)):
        monkeypatch.setitem(sys.modules, name, module)


def test_windows_of_one_length_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    install(monkeypatch, model)
    audio = np.concatenate((np.full(RATE, 0.1), np.full(RATE, 0.5))).astype(np.float32)
    windows = [(0, RATE), (0, RATE // 2), (RATE, 2 * RATE)]
    vectors = PyannoteEmbedder(Path("model")).embed_windows(audio, windows)
    assert model.batches == [(2, 1, RATE), (1, 1, RATE // 2)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[:, 0] == pytest.approx([0.0995, 0.196, 0.447], abs=1e-3)


@pytest.mark.parametrize(("found", "reason"), [(OSError(), "cannot read"), (None, "finds no model")])
def test_a_file_without_a_model_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, found: object, reason: str
) -> None:
    install(monkeypatch, found)
    with pytest.raises(ModelUnavailable, match=reason):
        PyannoteEmbedder(Path("model"))
