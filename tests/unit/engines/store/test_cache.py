from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from echoic.cli.program import app
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.store.cache import (
    SOURCE_RECORD_FILE,
    find_model_file,
    find_model_folder,
    list_cached_models,
    read_languages,
    remove_model,
    resolve_cache_folder,
)
from echoic.engines.store.catalogue import EUROPEAN_LANGUAGES, MODEL_SOURCES, list_model_names
from echoic.engines.store.download import DownloadOptions, download_model
from echoic.engines.store.hub import Hub
from echoic.errors import ModelUnavailable
from support.loopback_hub import ENCODER_FILE, JOINT_FILE, REVISION, LoopbackHub
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "parakeet-tdt-0.6b-v3-onnx"
FULL = ("encoder-model.onnx", JOINT_FILE)


@pytest.fixture
def served() -> Iterator[Callable[[str], LoopbackHub]]:
    """Serves a model's repository."""
    opened: list[LoopbackHub] = []

    def serve(name: str) -> LoopbackHub:
        opened.append(LoopbackHub(MODEL_SOURCES[name].repository))
        return opened[-1]

    yield serve
    for hub in opened:
        hub.close()


@pytest.fixture
def hub(served: Callable[[str], LoopbackHub]) -> LoopbackHub:
    return served(NAME)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))


def download_from(hub: LoopbackHub, cache: Path, name: str = NAME, **more: str) -> Path:
    return download_model(name, cache, Hub(hub.address, WAIT_SECONDS), DownloadOptions(**more))


# ---- what comes


def test_a_model_is_fetched_by_name_and_can_be_loaded(hub: LoopbackHub, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert find_model_folder(tmp_path) is None
    folder = download_model(
        NAME, tmp_path, Hub(hub.address, WAIT_SECONDS), on_progress=lambda *one: told.append(one)
    )
    assert folder == tmp_path / NAME == find_model_folder(tmp_path)
    assert {file.name for file in folder.iterdir()} == {*hub.files, SOURCE_RECORD_FILE} - {"README.md"}
    assert not any(file.is_symlink() for file in folder.iterdir())
    assert hub.file_requests[-1][0] == ENCODER_FILE
    assert told[-1] == (ENCODER_FILE, len(hub.files[ENCODER_FILE]), len(hub.files[ENCODER_FILE]))
    assert ParakeetOnnx(folder).requirements.has_word_times


def test_where_a_model_is_from_is_kept_beside_it(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    record = json.loads((folder / SOURCE_RECORD_FILE).read_bytes())
    assert (record["name"], record["revision"]) == (NAME, REVISION)
    assert set(record["files"]) == {ENCODER_FILE, JOINT_FILE, "vocab.txt", "config.json"}
    (row,) = list_cached_models(tmp_path)
    assert (row.name, row.is_complete, row.quantizations) == (NAME, True, ("int8",))
    assert (row.repository, row.revision) == (MODEL_SOURCES[NAME].repository, REVISION)
    assert row.size > len(hub.files[ENCODER_FILE])
    assert read_languages(folder) == EUROPEAN_LANGUAGES
    assert read_languages(tmp_path) == ()


def test_a_folder_whose_record_is_damaged_can_be_used_still(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    for damaged in (b"{", b"[1]", b'{"files": 3, "revision": 4}'):
        (folder / SOURCE_RECORD_FILE).write_bytes(damaged)
        hub.file_requests.clear()
        assert list_cached_models(tmp_path)[0].revision is None
        download_from(hub, tmp_path)
        assert hub.file_requests == []
        assert list_cached_models(tmp_path)[0].revision == REVISION


def test_what_is_there_is_not_fetched_again_but_what_changed_on_the_hub_is(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    download_from(hub, tmp_path)
    hub.file_requests.clear()
    download_from(hub, tmp_path)
    assert hub.file_requests == []
    hub.files["config.json"] = hub.files["config.json"].replace(b" ", b"\n")
    download_from(hub, tmp_path)
    assert hub.file_requests == [("config.json", 0)]


def test_an_update_that_is_cut_off_leaves_what_was_there_whole(hub: LoopbackHub, tmp_path: Path) -> None:
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


def test_graphs_that_were_made_of_a_model_go_when_it_changes_and_not_before(
    hub: LoopbackHub, tmp_path: Path
) -> None:
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
    hub: LoopbackHub, tmp_path: Path, first: str, *, recorded: bool
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


def test_what_is_the_same_in_both_revisions_stays(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files |= dict.fromkeys(FULL, b"graph")
    folder = download_from(hub, tmp_path)
    hub.files["config.json"] += b"\n"
    download_from(hub, tmp_path, quantization="")
    assert (folder / ENCODER_FILE).read_bytes() == hub.files[ENCODER_FILE]


def test_graphs_made_of_files_that_are_gone_go_once_when_the_model_changes(
    hub: LoopbackHub, tmp_path: Path
) -> None:
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


def test_a_record_does_not_let_files_outside_the_folder_go(hub: LoopbackHub, tmp_path: Path) -> None:
    folder, outside = download_from(hub, tmp_path), tmp_path / "mine.txt"
    outside.write_bytes(b"mine")
    (folder / SOURCE_RECORD_FILE).write_text(json.dumps({"files": {"../mine.txt": "1", str(outside): "1"}}))
    download_from(hub, tmp_path)
    assert outside.exists()


@pytest.mark.parametrize("name", [ENCODER_FILE, JOINT_FILE, "vocab.txt"])
def test_damage_that_keeps_the_size_is_found_and_mended(hub: LoopbackHub, tmp_path: Path, name: str) -> None:
    file = download_from(hub, tmp_path) / name
    file.write_bytes(bytes(len(hub.files[name])))
    hub.file_requests.clear()
    told: list[str] = []
    with pytest.raises(ModelUnavailable, match=f"{name} is damaged, and the hub may not be asked"):
        download_model(NAME, tmp_path, None)
    download_model(
        NAME, tmp_path, Hub(hub.address, WAIT_SECONDS), on_progress=lambda what, *_: told.append(what)
    )
    assert file.read_bytes() == hub.files[name]
    assert hub.file_requests == [(name, 0)]
    assert f"checking {name}" in told


def test_a_transfer_that_was_cut_off_waits_while_another_quantization_is_fetched(
    hub: LoopbackHub, tmp_path: Path
) -> None:
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


def test_one_process_fetches_a_model_at_a_time(hub: LoopbackHub, tmp_path: Path) -> None:
    with FileLock(tmp_path / f".{NAME}.lock"), pytest.raises(ModelUnavailable, match="Another process"):
        download_from(hub, tmp_path)
    download_from(hub, tmp_path)


def test_another_quantization_comes_beside_the_first(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files |= {"encoder-model.onnx": b"graph", "encoder-model.onnx.data": b"weights"}
    download_from(hub, tmp_path)
    folder = download_from(hub, tmp_path, quantization="")
    assert (folder / "encoder-model.onnx.data").read_bytes() == b"weights"
    assert hub.file_requests[-1][0] == "encoder-model.onnx"
    assert list_cached_models(tmp_path)[0].quantizations == ("int8", "")


def test_full_precision_comes_where_nothing_smaller_is_published(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files["encoder-model.onnx"] = hub.files.pop(ENCODER_FILE)
    assert (download_from(hub, tmp_path) / "encoder-model.onnx").exists()
    with pytest.raises(ModelUnavailable, match=r"has no file encoder-model\.int8\.onnx"):
        download_from(hub, tmp_path, quantization="int8")


def test_the_networks_that_decode_come_in_the_same_quantization_if_they_are_there(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.files["decoder_joint-model.int8.onnx"] = b"small"
    names = {file.name for file in download_from(hub, tmp_path).iterdir()}
    assert "decoder_joint-model.int8.onnx" in names
    assert JOINT_FILE not in names


FORMS = {
    "parakeet-ctc-0.6b-onnx": ["vocab.txt", "model.int8.onnx"],
    "parakeet-tdt-0.6b-v3-nemo": ["parakeet-tdt-0.6b-v3.nemo"],
    "parakeet-tdt-0.6b-v3-mlx": ["config.json", "model.safetensors"],
    "whisper-base": [
        "preprocessor_config.json",
        "config.json",
        "tokenizer.json",
        "vocabulary.txt",
        "model.bin",
    ],
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_a_model_has_its_files_and_its_weights_come_last(
    served: Callable[[str], LoopbackHub], tmp_path: Path, name: str
) -> None:
    hub = served(name)
    hub.files = {file: file.encode() for file in reversed(FORMS[name])} | {
        "README.md": b"#",
        "onnx/model.onnx": b"-",
    }
    folder = download_from(hub, tmp_path, name)
    assert [file for file, _ in hub.file_requests] == FORMS[name]
    form = MODEL_SOURCES[name].model_format
    assert find_model_file(tmp_path, list_model_names(form)) == folder / FORMS[name][-1]
    assert list_cached_models(tmp_path)[0].quantizations == (("int8",) if form == "ctc" else ())
    if form == "ctc":  # the repository lacks what says which architecture it is
        assert json.loads((folder / "config.json").read_bytes()) == {"model_type": "nemo-conformer-ctc"}


def test_a_model_can_be_removed(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = download_from(hub, tmp_path)
    assert remove_model(NAME, tmp_path).folder == folder
    assert not folder.exists()
    assert list_cached_models(tmp_path) == []
    with pytest.raises(ModelUnavailable, match="It is not in"):
        remove_model(NAME, tmp_path)
    with pytest.raises(ModelUnavailable, match="cannot be fetched by name"):
        remove_model("../models", tmp_path)


# ---- what goes wrong


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_was_cut_off_goes_on(hub: LoopbackHub, tmp_path: Path, *, ranges: bool) -> None:
    hub.cut_at = 100_000
    with pytest.raises(ModelUnavailable, match="kept, and used the next time") as refused:
        download_from(hub, tmp_path)
    assert refused.value.install == f"echoic models get {NAME}"
    assert find_model_folder(tmp_path) is None
    assert [row.is_complete for row in list_cached_models(tmp_path)] == [False]
    hub.cut_at, hub.supports_ranges = None, ranges
    hub.file_requests.clear()
    folder = download_from(hub, tmp_path)
    assert (JOINT_FILE, 100_000 if ranges else 0) in hub.file_requests
    assert ParakeetOnnx(folder).requirements.has_word_times


def test_a_connection_that_breaks_now_and_then_is_asked_again_at_once(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.max_bytes = 1_500_000
    download_from(hub, tmp_path)
    assert [start for name, start in hub.file_requests if name == ENCODER_FILE] == [
        0,
        1_500_000,
        3_000_000,
        4_500_000,
    ]


@pytest.mark.parametrize("name", [JOINT_FILE, "config.json"])
def test_a_wrong_checksum_throws_the_file_away(hub: LoopbackHub, tmp_path: Path, name: str) -> None:
    hub.corrupted_files = {name}
    with pytest.raises(ModelUnavailable, match=f"The checksum of {name} is wrong"):
        download_from(hub, tmp_path)
    assert find_model_folder(tmp_path) is None
    hub.corrupted_files = set()
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.claimed_sizes[ENCODER_FILE] = 10**18
    with pytest.raises(ModelUnavailable, match=r"There is no room for it in .*: 931322574\.6 GiB are needed"):
        download_from(hub, tmp_path)
    assert hub.file_requests == []


def test_a_folder_that_cannot_be_written_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"in the way")
    with pytest.raises(ModelUnavailable, match=f"{NAME} cannot be written"):
        download_from(hub, tmp_path)


def test_a_repository_without_a_file_is_refused(hub: LoopbackHub, tmp_path: Path) -> None:
    del hub.files["vocab.txt"]
    with pytest.raises(ModelUnavailable, match=r"has no file vocab\.txt"):
        download_from(hub, tmp_path)


@pytest.mark.parametrize("listing", [b"<html>", b"[]", b"{}", b'{"sha": "1", "siblings": [{"size": 1}]}'])
def test_an_answer_that_is_no_list_of_files_is_refused(
    hub: LoopbackHub, tmp_path: Path, listing: bytes
) -> None:
    hub.listing = listing
    with pytest.raises(ModelUnavailable, match="is not a list of files"):
        download_from(hub, tmp_path)


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (503, {}, "The hub answers 503 for istupakov/parakeet"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no repository istupakov/parakeet.* HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "wants its terms accepted"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "The hub answers 404"),
    ],
)
def test_a_hub_that_refuses_is_understood(
    hub: LoopbackHub, tmp_path: Path, status: int, headers: dict[str, str], reason: str
) -> None:
    hub.status, hub.headers = status, headers
    with pytest.raises(ModelUnavailable, match=reason):
        download_from(hub, tmp_path, revision="main")


def test_the_key_of_the_environment_is_shown_to_the_hub(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.required_key = "hf_secret"
    with pytest.raises(ModelUnavailable, match="HF_TOKEN"):
        download_from(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)


def test_the_key_is_not_shown_to_where_the_hub_keeps_its_files(
    hub: LoopbackHub, served: Callable[[str], LoopbackHub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    store = served(NAME)
    hub.required_key, hub.redirect_address = "hf_secret", store.address
    store.max_bytes = 5_000_000
    assert download_from(hub, tmp_path) == find_model_folder(tmp_path)
    assert (ENCODER_FILE, 5_000_000) in store.file_requests
    assert set(store.received_keys) == {None}


def test_the_key_is_not_shown_where_others_can_read_it(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.required_key, find = "hf_secret", socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: find("127.0.0.1", *more, **named))
    far = Hub(hub.address.replace("127.0.0.1", "hub.example"), 5)
    with pytest.raises(ModelUnavailable, match="over https"):
        download_model(NAME, tmp_path, far)
    hub.required_key = None
    download_model(NAME, tmp_path, far)
    assert set(hub.received_keys) == {None}


def test_a_hub_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        download_model(NAME, tmp_path, Hub("http://127.0.0.1:1"))


def test_offline_only_what_is_there_is_found(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="the hub may not be asked"):
        download_model(NAME, tmp_path, None)
    folder = download_from(hub, tmp_path)
    hub.file_requests.clear()
    assert download_model(NAME, tmp_path, None) == folder
    with pytest.raises(ModelUnavailable, match="the hub may not be asked"):
        download_model(NAME, tmp_path, None, DownloadOptions(""))
    for name in ("config.json", "vocab.txt", JOINT_FILE):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(ModelUnavailable, match="the hub may not be asked"):
            download_model(NAME, tmp_path, None)
        (folder / name).write_bytes(content)
    assert hub.file_requests == []


def test_the_librarys_own_word_for_offline_counts_too(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE is set"):
        download_from(hub, tmp_path)
    assert hub.file_requests == []


def test_a_name_nobody_knows_is_refused_with_those_that_are_meant(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"did you mean parakeet-tdt-0\.6b-v3-onnx") as refused:
        download_model("parakeet-0.6b-v3-onnx", tmp_path, None)
    assert refused.value.install is None
    with pytest.raises(ModelUnavailable, match=r"these can: parakeet-tdt-0\.6b-v3-onnx, .*whisper-tiny"):
        download_model("zzz", tmp_path, None)


def test_a_hub_has_an_address_of_http() -> None:
    with pytest.raises(ValueError, match="not an address of HTTP"):
        Hub("file:///etc")


# ---- where


@pytest.mark.parametrize(
    ("env", "platform", "place"),
    [
        ({"HOME": "/home/ann"}, "linux", "/home/ann/.cache/echoic/models"),
        ({"HOME": "/home/ann", "XDG_CACHE_HOME": "/c"}, "linux", "/c/echoic/models"),
        ({"HOME": "/Users/ann"}, "darwin", "/Users/ann/Library/Caches/echoic/models"),
        ({"HOME": "/u", "LOCALAPPDATA": "/u/Local"}, "win32", "/u/Local/echoic/models"),
    ],
)
def test_models_are_kept_in_the_users_cache(env: dict[str, str], platform: str, place: str) -> None:
    assert resolve_cache_folder(env, platform) == Path(place)


def test_nobody_is_told_of_a_fetch_but_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    download_from(hub, tmp_path)
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


# ---- the command


def test_the_command_fetches_says_where_lists_and_removes(hub: LoopbackHub, tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    done = runner.invoke(app, ["models", "get", NAME, "--hub", hub.address], env=env)
    assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / NAME))
    assert f"{ENCODER_FILE}  5.2 of 5.2 MiB" in done.stderr
    rows = json.loads(runner.invoke(app, ["models", "--json"], env=env).stdout)
    assert next(row for row in rows if row["id"] == "parakeet-onnx")["available"]
    assert runner.invoke(app, ["models", "get", NAME, "--offline"], env=env).exit_code == 0
    listed = json.loads(runner.invoke(app, ["models", "get", "--json"], env=env).stdout)
    assert {row["name"]: row["state"] for row in listed} == dict.fromkeys(MODEL_SOURCES) | {NAME: "fetched"}
    assert "whisper-large-v3-turbo" in runner.invoke(app, ["models", "get"], env=env).stdout
    assert "is removed" in runner.invoke(app, ["models", "remove", NAME], env=env).stdout
    assert runner.invoke(app, ["models", "remove", NAME], env=env).exit_code == 1


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    absent = runner.invoke(app, ["models", "get", NAME, "--offline"], env=env)
    assert absent.exit_code == 1
    assert f"To install it: `echoic models get {NAME}`." in absent.stderr
    assert runner.invoke(app, ["models", "get", NAME, "--hub", "ftp://x"], env=env).exit_code == 2
