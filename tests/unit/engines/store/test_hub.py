from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from echoic.engines.store.cache import (
    find_model_folder,
)
from echoic.engines.store.download import download_model
from echoic.engines.store.hub import Hub
from echoic.errors import ModelUnavailable
from support.fake_hub import ENCODER_FILE, JOINT_FILE, MODEL_NAME, FakeHub, download_from


def test_a_transfer_that_breaks_is_resumed_at_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.max_bytes = 1_500_000
    download_from(hub, tmp_path)
    assert [start for name, start in hub.file_requests if name == ENCODER_FILE] == [
        0,
        1_500_000,
        3_000_000,
        4_500_000,
    ]


@pytest.mark.parametrize("listing", [b"<html>", b"[]", b"{}", b'{"sha": "1", "siblings": [{"size": 1}]}'])
def test_a_response_that_lists_no_files_is_refused(hub: FakeHub, tmp_path: Path, listing: bytes) -> None:
    hub.listing = listing
    with pytest.raises(ModelUnavailable, match="is not a list of files"):
        download_from(hub, tmp_path)


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (503, {}, "The hub answers 503 for istupakov/parakeet"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no repository istupakov/parakeet.* HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "requires that you accept its terms"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "The hub answers 404"),
    ],
)
def test_an_error_of_the_hub_is_explained(
    hub: FakeHub, tmp_path: Path, status: int, headers: dict[str, str], reason: str
) -> None:
    hub.status, hub.headers = status, headers
    with pytest.raises(ModelUnavailable, match=reason):
        download_from(hub, tmp_path, revision="main")


def test_the_key_of_the_environment_is_sent_to_the_hub(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.required_key = "hf_secret"
    with pytest.raises(ModelUnavailable, match="HF_TOKEN"):
        download_from(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)


def test_the_key_is_not_sent_to_the_hubs_file_store(
    hub: FakeHub, serve_hub: Callable[[str], FakeHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    store = serve_hub(MODEL_NAME)
    hub.required_key, hub.redirect_address = "hf_secret", store.address
    store.max_bytes = 5_000_000
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)
    assert (ENCODER_FILE, 5_000_000) in store.file_requests
    assert set(store.received_keys) == {None}


def test_the_key_is_not_sent_over_plain_http(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.required_key, find = "hf_secret", socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: find("127.0.0.1", *more, **named))
    far = Hub(hub.address.replace("127.0.0.1", "hub.example"), 5)
    with pytest.raises(ModelUnavailable, match="over https"):
        download_model(MODEL_NAME, tmp_path, far)
    hub.required_key = None
    download_model(MODEL_NAME, tmp_path, far)
    assert set(hub.received_keys) == {None}


def test_an_unreachable_hub_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        download_model(MODEL_NAME, tmp_path, Hub("http://127.0.0.1:1"))


def test_the_librarys_offline_variable_is_respected(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set"):
        download_from(hub, tmp_path)
    assert hub.file_requests == []


def test_a_hub_needs_an_http_address() -> None:
    with pytest.raises(ValueError, match="not an HTTP address"):
        Hub("file:///etc")


def test_the_librarys_telemetry_is_switched_off(hub: FakeHub, tmp_path: Path) -> None:
    download_from(hub, tmp_path)
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("name", [JOINT_FILE, "config.json"])
def test_a_file_with_a_wrong_checksum_is_deleted(hub: FakeHub, tmp_path: Path, name: str) -> None:
    hub.corrupted_files = {name}
    with pytest.raises(ModelUnavailable, match=f"The checksum of {name} is wrong"):
        download_from(hub, tmp_path)
    assert find_model_folder(tmp_path) is None
    hub.corrupted_files = set()
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)
