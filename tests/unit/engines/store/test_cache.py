from __future__ import annotations

import json
from pathlib import Path

import pytest

from echoic.engines.store.cache import (
    SOURCE_RECORD_FILE,
    list_cached_models,
    read_languages,
    remove_model,
    resolve_cache_folder,
)
from echoic.engines.store.catalogue import EUROPEAN_LANGUAGES, MODEL_SOURCES
from echoic.errors import ModelUnavailable
from support.fake_hub import ENCODER_FILE, JOINT_FILE, MODEL_NAME, REVISION, FakeHub, download_from


def test_the_source_of_a_model_is_recorded(hub: FakeHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    record = json.loads((folder / SOURCE_RECORD_FILE).read_bytes())
    assert (record["name"], record["revision"]) == (MODEL_NAME, REVISION)
    assert set(record["files"]) == {ENCODER_FILE, JOINT_FILE, "vocab.txt", "config.json"}
    (row,) = list_cached_models(tmp_path)
    assert (row.name, row.is_complete, row.quantizations) == (MODEL_NAME, True, ("int8",))
    assert (row.repository, row.revision) == (MODEL_SOURCES[MODEL_NAME].repository, REVISION)
    assert row.size > len(hub.files[ENCODER_FILE])
    assert read_languages(folder) == EUROPEAN_LANGUAGES
    assert read_languages(tmp_path) == ()


def test_a_damaged_source_record_is_replaced(hub: FakeHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    for damaged in (b"{", b"[1]", b'{"files": 3, "revision": 4}'):
        (folder / SOURCE_RECORD_FILE).write_bytes(damaged)
        hub.file_requests.clear()
        assert list_cached_models(tmp_path)[0].revision is None
        download_from(hub, tmp_path)
        assert hub.file_requests == []
        assert list_cached_models(tmp_path)[0].revision == REVISION


def test_a_model_can_be_removed(hub: FakeHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    assert remove_model(MODEL_NAME, tmp_path).folder == folder
    assert not folder.exists()
    assert list_cached_models(tmp_path) == []
    with pytest.raises(ModelUnavailable, match="It is not in"):
        remove_model(MODEL_NAME, tmp_path)
    with pytest.raises(ModelUnavailable, match="cannot be fetched by name"):
        remove_model("../models", tmp_path)


@pytest.mark.parametrize(
    ("env", "platform", "place"),
    [
        ({"HOME": "/home/ann"}, "linux", "/home/ann/.cache/echoic/models"),
        ({"HOME": "/home/ann", "XDG_CACHE_HOME": "/c"}, "linux", "/c/echoic/models"),
        ({"HOME": "/Users/ann"}, "darwin", "/Users/ann/Library/Caches/echoic/models"),
        ({"HOME": "/u", "LOCALAPPDATA": "/u/Local"}, "win32", "/u/Local/echoic/models"),
    ],
)
def test_the_default_folder_is_in_the_users_cache(env: dict[str, str], platform: str, place: str) -> None:
    assert resolve_cache_folder(env, platform) == Path(place)
