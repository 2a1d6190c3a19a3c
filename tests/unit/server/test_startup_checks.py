from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.engines.registry import DEFAULT_MODEL, ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.errors import Unavailable
from echoic.server.build import build_registry
from echoic.server.process import render_greeting
from echoic.server.settings.groups import Settings
from echoic.server.startup_checks import find_unmet_settings
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from fastapi import FastAPI


def find_messages(folder: Path, active: str | None = None, **settings: object) -> list[str]:
    given = Settings.model_validate({"models_dir": folder} | settings)
    return [one.message for one in find_unmet_settings(given, build_registry(given), active)]


def test_unset_settings_give_no_warning(tmp_path: Path) -> None:
    assert find_messages(tmp_path, DEFAULT_MODEL) == []
    assert find_messages(tmp_path, parakeet_onnx_dir=TINY_PARAKEET_FOLDER, onnx_provider="cpu") == []


def test_each_unmet_setting_is_reported_with_its_fallback(tmp_path: Path) -> None:
    nowhere, file = tmp_path / "nowhere", tmp_path / "file"
    file.touch()
    instead = f" Using {DEFAULT_MODEL} instead."
    assert find_messages(tmp_path, parakeet_onnx_dir=nowhere) == [
        f"parakeet-onnx: There is no folder {nowhere}.{instead}"
    ]
    assert find_messages(tmp_path, parakeet_onnx_dir=file) == [
        f"parakeet-onnx: There is no folder {file}.{instead}"
    ]
    (message,) = find_messages(tmp_path, parakeet_onnx_dir=TINY_PARAKEET_FOLDER, parakeet_quantization="int4")
    assert message == f"parakeet-onnx: encoder-model.int4.onnx is missing in {TINY_PARAKEET_FOLDER}.{instead}"
    (message,) = find_messages(tmp_path, DEFAULT_MODEL, preload_model="parakeet-onnx")
    assert message == f"parakeet-onnx: Its weights have not been downloaded.{instead}"
    (message,) = find_messages(tmp_path, onnx_provider="tensorrt")
    assert message.startswith("parakeet-onnx: The installed onnxruntime does not support tensorrt")
    (message,) = find_messages(tmp_path, whisper_model="base")
    assert message.startswith("whisper: ")


def test_a_model_that_failed_to_load_is_reported(tmp_path: Path) -> None:
    for file in filter(Path.is_file, TINY_PARAKEET_FOLDER.iterdir()):
        (tmp_path / file.name).write_bytes(b"broken" if file.suffix == ".onnx" else file.read_bytes())
    assert find_messages(tmp_path, DEFAULT_MODEL, parakeet_onnx_dir=tmp_path) == [
        f"parakeet-onnx: It is installed but could not be loaded. Using {DEFAULT_MODEL} instead."
    ]


def test_any_variant_satisfies_a_family_name(tmp_path: Path) -> None:
    given = Settings.model_validate(
        {"models_dir": tmp_path, "parakeet_onnx_dir": TINY_PARAKEET_FOLDER, "preload_model": "parakeet"}
    )
    assert find_unmet_settings(given, build_registry(given), "parakeet-onnx") == ()


async def test_unmet_settings_are_logged_and_printed(
    start_app: Callable[..., Awaitable[FastAPI]], caplog: pytest.LogCaptureFixture
) -> None:
    def nothing_here() -> Unavailable:
        return Unavailable("Its weights have not been downloaded.")

    specs = [
        ModelSpec("parakeet-onnx", "parakeet", "onnx", nothing_here, ScriptedEngine),
        ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine),
    ]
    caplog.set_level(logging.WARNING)
    app = await start_app(Registry(specs, "scripted"), preload_model="parakeet-onnx", api_key="secret")
    lines = list(render_greeting(app.state.context, 8000))
    assert lines[:2] == [
        "echoic is ready (scripted).",
        "  parakeet-onnx: Its weights have not been downloaded. Using scripted instead.",
    ]
    assert lines[-1].endswith("--url ws://127.0.0.1:8000 --key KEY")
    (record,) = [one for one in caplog.records if one.message == "setting.unmet"]
    assert record.levelno == logging.WARNING
