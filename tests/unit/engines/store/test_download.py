from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.store.cache import (
    SOURCE_RECORD_FILE,
    find_model_folder,
    list_cached_models,
)
from echoic.engines.store.download import DownloadOptions, download_model
from echoic.engines.store.hub import Hub
from echoic.errors import ModelUnavailable
from support.fake_hub import ENCODER_FILE, JOINT_FILE, MODEL_NAME, FakeHub, download_from
from support.timing import WAIT_SECONDS

FULL = ("encoder-model.onnx", JOINT_FILE)


def test_a_downloaded_model_can_be_loaded(hub: FakeHub, tmp_path: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    assert find_model_folder(tmp_path) is None
    folder = download_model(
        MODEL_NAME, tmp_path, Hub(hub.address, WAIT_SECONDS), on_progress=lambda *one: progress.append(one)
    )
    assert folder == tmp_path / MODEL_NAME == find_model_folder(tmp_path)
    assert {file.name for file in folder.iterdir()} == {*hub.files, SOURCE_RECORD_FILE} - {"README.md"}
    assert not any(file.is_symlink() for file in folder.iterdir())
    assert hub.file_requests[-1][0] == ENCODER_FILE
    assert progress[-1] == (ENCODER_FILE, len(hub.files[ENCODER_FILE]), len(hub.files[ENCODER_FILE]))
    assert ParakeetOnnx(folder).requirements.has_word_times


def test_only_changed_files_are_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    download_from(hub, tmp_path)
    hub.file_requests.clear()
    download_from(hub, tmp_path)
    assert hub.file_requests == []
    hub.files["config.json"] = hub.files["config.json"].replace(b" ", b"\n")
    download_from(hub, tmp_path)
    assert hub.file_requests == [("config.json", 0)]


def test_an_interrupted_update_leaves_the_old_model_intact(hub: FakeHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    old = {file: (folder / file).read_bytes() for file in (ENCODER_FILE, "vocab.txt")}
    hub.files |= {"vocab.txt": b"new", ENCODER_FILE: b"new" * 50_000}
    hub.cut_at = 100_000
    with pytest.raises(ModelUnavailable, match="kept"):
        download_from(hub, tmp_path)
    assert {file: (folder / file).read_bytes() for file in old} == old
    hub.cut_at = None
    download_from(hub, tmp_path)
    assert (folder / "vocab.txt").read_bytes() == b"new"
    assert (folder / ENCODER_FILE).read_bytes() == b"new" * 50_000
    assert not list(folder.glob("*.part"))


def test_optimized_files_are_removed_when_their_source_changes(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["encoder-model.onnx"] = b"whole"
    made = download_from(hub, tmp_path) / "encoder-model.rowint8.onnx"
    made.write_bytes(b"made here")
    download_from(hub, tmp_path, quantization="")
    assert made.exists()
    hub.files["encoder-model.onnx"] = b"another"
    download_from(hub, tmp_path, quantization="")
    assert not made.exists()
    assert list_cached_models(tmp_path)[0].quantizations == ("int8", "")


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("first", ["int8", ""])
def test_a_folder_never_mixes_two_revisions(
    hub: FakeHub, tmp_path: Path, first: str, *, recorded: bool
) -> None:
    graphs = {
        name: f"{name} of A".encode() for name in (*FULL, ENCODER_FILE, "decoder_joint-model.int8.onnx")
    }
    hub.files |= graphs
    folder = download_from(hub, tmp_path, quantization=first)
    (folder / "encoder-model.rowint8.onnx").write_bytes(b"made here of A")
    if not recorded:
        (folder / SOURCE_RECORD_FILE).unlink()
    hub.files |= {name: content.replace(b"A", b"B") for name, content in graphs.items()} | {"vocab.txt": b"B"}
    download_from(hub, tmp_path, quantization="" if first else "int8")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != SOURCE_RECORD_FILE}
    assert len(files) == 4
    assert files.items() <= hub.files.items()
    assert set(json.loads((folder / SOURCE_RECORD_FILE).read_bytes())["files"]) == set(files)


def test_files_that_are_equal_in_both_revisions_stay(hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= dict.fromkeys(FULL, b"graph")
    folder = download_from(hub, tmp_path)
    hub.files["config.json"] += b"\n"
    download_from(hub, tmp_path, quantization="")
    assert (folder / ENCODER_FILE).read_bytes() == hub.files[ENCODER_FILE]


def test_optimized_files_of_a_missing_source_are_removed_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= dict.fromkeys(FULL, b"graph")
    folder = download_from(hub, tmp_path, quantization="")
    made = folder / "encoder-model.rowint8.onnx"
    made.write_bytes(b"made here")
    (folder / "encoder-model.onnx").unlink()
    hub.files["encoder-model.onnx"] = b"another"
    download_from(hub, tmp_path)
    assert not made.exists()
    made.write_bytes(b"made here of the new one")
    download_from(hub, tmp_path)
    assert made.exists()


def test_a_source_record_cannot_remove_files_elsewhere(hub: FakeHub, tmp_path: Path) -> None:
    folder, outside = download_from(hub, tmp_path), tmp_path / "mine.txt"
    outside.write_bytes(b"mine")
    (folder / SOURCE_RECORD_FILE).write_text(json.dumps({"files": {"../mine.txt": "1", str(outside): "1"}}))
    download_from(hub, tmp_path)
    assert outside.exists()


@pytest.mark.parametrize("name", [ENCODER_FILE, JOINT_FILE, "vocab.txt"])
def test_damage_that_keeps_the_size_is_repaired(hub: FakeHub, tmp_path: Path, name: str) -> None:
    file = download_from(hub, tmp_path) / name
    file.write_bytes(bytes(len(hub.files[name])))
    hub.file_requests.clear()
    progress: list[str] = []
    with pytest.raises(ModelUnavailable, match=f"{name} is damaged, and downloads are disabled"):
        download_model(MODEL_NAME, tmp_path, None)
    download_model(
        MODEL_NAME,
        tmp_path,
        Hub(hub.address, WAIT_SECONDS),
        on_progress=lambda what, *_: progress.append(what),
    )
    assert file.read_bytes() == hub.files[name]
    assert hub.file_requests == [(name, 0)]
    assert f"checking {name}" in progress


def test_a_partial_download_survives_other_downloads(hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= dict.fromkeys(FULL, b"full" * 50_000)
    download_from(hub, tmp_path)
    hub.cut_at = 100_000
    with pytest.raises(ModelUnavailable, match="kept"):
        download_from(hub, tmp_path, quantization="")
    hub.cut_at = None
    download_from(hub, tmp_path)
    hub.file_requests.clear()
    folder = download_from(hub, tmp_path, quantization="")
    assert hub.file_requests[0][1] == 100_000
    assert not list(folder.glob("*.part"))


def test_one_process_at_a_time_downloads_a_model(hub: FakeHub, tmp_path: Path) -> None:
    with FileLock(tmp_path / f".{MODEL_NAME}.lock"), pytest.raises(ModelUnavailable, match="Another process"):
        download_from(hub, tmp_path)
    download_from(hub, tmp_path)


def test_another_quantization_is_added_to_the_folder(hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= {"encoder-model.onnx": b"graph", "encoder-model.onnx.data": b"weights"}
    download_from(hub, tmp_path)
    folder = download_from(hub, tmp_path, quantization="")
    assert (folder / "encoder-model.onnx.data").read_bytes() == b"weights"
    assert hub.file_requests[-1][0] == "encoder-model.onnx"
    assert list_cached_models(tmp_path)[0].quantizations == ("int8", "")


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_transfer_is_resumed(hub: FakeHub, tmp_path: Path, *, ranges: bool) -> None:
    hub.cut_at = 100_000
    with pytest.raises(ModelUnavailable, match="kept and will be resumed") as refused:
        download_from(hub, tmp_path)
    assert refused.value.install == f"echoic models get {MODEL_NAME}"
    assert find_model_folder(tmp_path) is None
    assert [row.is_complete for row in list_cached_models(tmp_path)] == [False]
    hub.cut_at, hub.supports_ranges = None, ranges
    hub.file_requests.clear()
    folder = download_from(hub, tmp_path)
    assert (JOINT_FILE, 100_000 if ranges else 0) in hub.file_requests
    assert ParakeetOnnx(folder).requirements.has_word_times


def test_a_full_disk_is_reported_before_the_download(hub: FakeHub, tmp_path: Path) -> None:
    hub.claimed_sizes[ENCODER_FILE] = 10**18
    with pytest.raises(ModelUnavailable, match=r"Not enough disk space in .*: 931322574\.6 GiB are needed"):
        download_from(hub, tmp_path)
    assert hub.file_requests == []


def test_a_folder_that_cannot_be_written_is_named(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / MODEL_NAME).write_bytes(b"in the way")
    with pytest.raises(ModelUnavailable, match=f"{MODEL_NAME} cannot be written"):
        download_from(hub, tmp_path)


def test_offline_existing_files_are_verified(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="downloads are disabled"):
        download_model(MODEL_NAME, tmp_path, None)
    folder = download_from(hub, tmp_path)
    hub.file_requests.clear()
    assert download_model(MODEL_NAME, tmp_path, None) == folder
    with pytest.raises(ModelUnavailable, match="downloads are disabled"):
        download_model(MODEL_NAME, tmp_path, None, DownloadOptions(""))
    for name in ("config.json", "vocab.txt", JOINT_FILE):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(ModelUnavailable, match="downloads are disabled"):
            download_model(MODEL_NAME, tmp_path, None)
        (folder / name).write_bytes(content)
    assert hub.file_requests == []
