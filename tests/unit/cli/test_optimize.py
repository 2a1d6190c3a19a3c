from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from echoic.cli.program import app
from echoic.engines.parakeet.onnx_files import inspect_onnx_folder
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx", "vocab.txt", "config.json"):
        shutil.copy(TINY_PARAKEET_FOLDER / name, folder / name)
    return folder


def test_a_table_shows_the_cost_of_each_form(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    speech = sorted((TINY_PARAKEET_FOLDER / "speech").glob("*.*"))
    audio = next(file for file in speech if file.suffix != ".json")
    done = CliRunner().invoke(app, ["models", "optimize", str(copy), "--audio", str(audio)])
    assert done.exit_code == 0, done.output
    assert "encoder-model.rowint8.onnx" in done.output
    assert "100.0 %" in done.output
    assert str(copy / "joint-model.rowint8.onnx") in done.output
    folder = inspect_onnx_folder(copy)
    assert f"The server uses {folder.encoder.name} after its next start." in done.output
    assert not folder.outdated_reason


def test_an_optimized_model_needs_again(copy: Path) -> None:
    shutil.copy(copy / "encoder-model.fp16.onnx", copy / "encoder-model.rowint8.onnx")
    done = CliRunner().invoke(app, ["models", "optimize", str(copy)])
    assert done.exit_code == 1
    assert "--again" in done.output


def test_without_onnx_the_install_command_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "echoic.engines.optimize.optimizer", raising=False)
    done = CliRunner().invoke(app, ["models", "optimize", str(copy)])
    assert done.exit_code == 1
    assert "pip install 'echoic[optimize]'" in done.output
