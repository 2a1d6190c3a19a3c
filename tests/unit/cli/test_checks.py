from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from echoic.cli import checks
from echoic.cli.checks import CheckResult
from echoic.cli.environment import load_usable_settings
from echoic.server.settings.groups import Settings
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

LLM = "[Insights]\nprovider = llm\nbase_url = http://127.0.0.1:9/v1\nmodel = small\napi_key = s3cret\n"


def load_settings(monkeypatch: pytest.MonkeyPatch, **env: str) -> Settings:
    """Return the settings of an environment."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load_usable_settings()[0]


def test_a_library_that_cannot_be_imported_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library.py").write_text("raise ImportError('a shared object')")
    monkeypatch.syspath_prepend(tmp_path)
    check = checks.inspect_library("broken_library", "broken-library")
    assert (check.state, check.found) == ("missing", "installed, but cannot be imported")


def test_a_library_that_is_not_installed_names_the_command() -> None:
    check = checks.inspect_library("no_such_module", "no-such-package")
    assert check == CheckResult("no-such-package", "missing", "not installed", "pip install no-such-package")


def test_a_port_in_use_is_a_note() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        check = checks.inspect_port("127.0.0.1", taken.getsockname()[1])
    assert check.state == "note"
    assert check.fix


def test_the_selected_onnx_provider_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(monkeypatch, ECHOIC_ONNX_PROVIDER="cpu")
    assert checks.inspect_onnx_provider(settings).found.startswith("by CPU; it offers")
    settings = load_settings(monkeypatch, ECHOIC_ONNX_PROVIDER="tensorrt")
    assert checks.inspect_onnx_provider(settings).state == "note"


def test_an_incomplete_download_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whisper-base").mkdir()
    check = checks.inspect_models_folder(load_settings(monkeypatch, ECHOIC_MODELS_DIR=str(tmp_path)))
    assert (check.state, check.fix) == ("note", "echoic models get whisper-base")
    assert check.found == f"{tmp_path}, 1 downloaded; incomplete: whisper-base"


def test_every_listed_diarizer_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = checks.inspect_diarizers(load_settings(monkeypatch))
    names = [f"diarizer {name}" for name in ("embedded", "embedded-light", "pyannote", "sortformer")]
    assert [row.name for row in rows] == names
    assert rows[0].state == "ok"


def test_outdated_optimized_networks_are_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx", "vocab.txt", "config.json"):
        shutil.copy(TINY_PARAKEET_FOLDER / name, folder / name)
    settings = load_settings(monkeypatch, ECHOIC_PARAKEET_ONNX_DIR=str(folder))
    assert checks.inspect_optimized_forms(settings) == []
    shutil.copy(folder / "encoder-model.fp16.onnx", folder / "encoder-model.rowint8.onnx")
    sources = {"encoder-model.fp16.onnx": {"size": 1, "changed": 1, "digest": ""}}
    record = {"encoder": "encoder-model.rowint8.onnx", "networks": [], "sources": sources}
    (folder / "optimized.json").write_text(json.dumps(record))
    [check] = checks.inspect_optimized_forms(settings)
    assert check.fix == "echoic models optimize tiny --again"
    assert "have changed" in check.found


def test_the_insight_provider_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(content: str) -> CheckResult:
        file = tmp_path / "echoic.ini"
        file.write_text(content, "utf-8")
        check = checks.inspect_insights(load_settings(monkeypatch, ECHOIC_CONFIG=str(file)))
        assert "s3cret" not in str(check)
        return check

    assert inspect("").found == "by rules: extractive"
    unreachable = inspect(LLM)
    assert unreachable.state == "note"
    assert unreachable.found.startswith("no server answers at http://127.0.0.1:9/v1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        reachable = inspect(LLM.replace("127.0.0.1:9", address))
    assert (reachable.state, reachable.found) == ("ok", f"by llm: small at http://{address}/v1")
    assert inspect("[Insights]\nprovider = off\n").state == "note"
    monkeypatch.setitem(sys.modules, "openai", None)
    assert inspect(LLM).fix == "pip install 'echoic[insights]'"


def test_stores_that_cannot_be_reached_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("-----BEGIN CERTIFICATE-----")
    env = {"ECHOIC_KEYS_DB": str(file), "REDIS_URL": "redis://127.0.0.1:1/0"}
    keys, quotas = checks.inspect_stores(load_settings(monkeypatch, **env))
    assert (keys.state, keys.found) == ("missing", "The key store cert.pem is not a SQLite database.")
    assert quotas.state == "note"
    monkeypatch.delenv("REDIS_URL")
    [keys] = checks.inspect_stores(load_settings(monkeypatch, ECHOIC_KEYS_DB=str(file / "keys.db")))
    assert keys.state == "missing"


def test_a_new_key_store_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "folder" / "keys.db"
    [check] = checks.inspect_stores(load_settings(monkeypatch, ECHOIC_KEYS_DB=str(file)))
    assert check.state == "ok"
    assert not file.parent.exists()


def test_the_default_microphone_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    check = checks.inspect_microphones()
    assert (check.state, check.found) == ("note", "The microphone needs sounddevice")
    assert str(check.fix).startswith("pip install 'echoic[microphone]'")


def test_a_folder_that_is_not_writable_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    assert checks.inspect_temp_folder().state == "note"
