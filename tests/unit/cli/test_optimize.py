from __future__ import annotations

import json
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


def test_a_table_tells_what_each_form_costs_and_what_is_new(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    speech = sorted((TINY_PARAKEET_FOLDER / "speech").glob("*.*"))
    audio = next(file for file in speech if file.suffix != ".json")
    done = CliRunner().invoke(app, ["models", "optimize", str(copy), "--audio", str(audio)])
    assert done.exit_code == 0, done.output
    assert "encoder-model.rowint8.onnx" in done.output
    assert "100.0 %" in done.output
    assert str(copy / "joint-model.rowint8.onnx") in done.output
    assert f"A server takes {inspect_onnx_folder(copy).encoder.name} at its next start." in done.output
    report = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--port", "0"], env=env(copy)).stdout)
    assert "optimized forms" not in {check["name"] for check in report["checks"]}


def env(folder: Path) -> dict[str, str]:
    return {"ECHOIC_PARAKEET_ONNX_DIR": str(folder)}


def test_doctor_says_that_forms_of_other_originals_are_left_out(copy: Path) -> None:
    shutil.copy(copy / "encoder-model.fp16.onnx", copy / "encoder-model.rowint8.onnx")
    sources = {"encoder-model.fp16.onnx": {"size": 1, "changed": 1, "digest": ""}}
    record = {"encoder": "encoder-model.rowint8.onnx", "networks": [], "sources": sources}
    (copy / "optimized.json").write_text(json.dumps(record))
    report = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--port", "0"], env=env(copy)).stdout)
    (check,) = (one for one in report["checks"] if one["name"] == "optimized forms")
    assert check["fix"] == "echoic models optimize tiny --again"
    assert "have changed" in check["found"]


def test_a_model_that_was_optimized_is_not_optimized_again_unasked(copy: Path) -> None:
    shutil.copy(copy / "encoder-model.fp16.onnx", copy / "encoder-model.rowint8.onnx")
    done = CliRunner().invoke(app, ["models", "optimize", str(copy)])
    assert done.exit_code == 1
    assert "--again" in done.output


def test_without_onnx_the_command_says_how_to_get_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "echoic.engines.optimize.optimizer", raising=False)
    done = CliRunner().invoke(app, ["models", "optimize", str(copy)])
    assert done.exit_code == 1
    assert "pip install 'echoic[optimize]'" in done.output
