"""Fixtures of a model hub on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from echoic.engines.store.catalogue import MODEL_SOURCES
from echoic.engines.store.download import DownloadOptions, download_model
from echoic.engines.store.hub import Hub
from support.loopback_hub import LoopbackHub
from support.patience import WAIT_SECONDS

#: The model that the fixture ``hub`` serves.
MODEL_NAME = "parakeet-tdt-0.6b-v3-onnx"


@pytest.fixture
def serve_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], LoopbackHub]]:
    """Serves the repository of a model by name; no key is set."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    hubs: list[LoopbackHub] = []

    def serve(name: str) -> LoopbackHub:
        hubs.append(LoopbackHub(MODEL_SOURCES[name].repository))
        return hubs[-1]

    yield serve
    for hub in hubs:
        hub.close()


@pytest.fixture
def hub(serve_hub: Callable[[str], LoopbackHub]) -> LoopbackHub:
    """Serves the repository of ``MODEL_NAME``."""
    return serve_hub(MODEL_NAME)


def download_from(hub: LoopbackHub, cache: Path, name: str = MODEL_NAME, **options: str) -> Path:
    """Download a model from a hub on loopback and return its folder."""
    return download_model(name, cache, Hub(hub.address, WAIT_SECONDS), DownloadOptions(**options))
