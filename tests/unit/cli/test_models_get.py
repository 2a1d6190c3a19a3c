from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from echoic.cli.program import app
from echoic.engines.store.catalogue import MODEL_SOURCES
from support.fake_hub import ENCODER_FILE, MODEL_NAME, FakeHub


def test_a_model_is_downloaded_listed_and_removed(hub: FakeHub, tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    done = runner.invoke(app, ["models", "get", MODEL_NAME, "--hub", hub.address], env=env)
    assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / MODEL_NAME))
    assert f"{ENCODER_FILE}  5.2 of 5.2 MiB" in done.stderr
    rows = json.loads(runner.invoke(app, ["models", "--json"], env=env).stdout)
    assert next(row for row in rows if row["id"] == "parakeet-onnx")["available"]
    assert runner.invoke(app, ["models", "get", MODEL_NAME, "--offline"], env=env).exit_code == 0
    listed = json.loads(runner.invoke(app, ["models", "get", "--json"], env=env).stdout)
    assert {row["name"]: row["state"] for row in listed} == dict.fromkeys(MODEL_SOURCES) | {
        MODEL_NAME: "fetched"
    }
    assert "whisper-large-v3-turbo" in runner.invoke(app, ["models", "get"], env=env).stdout
    assert "Removed " in runner.invoke(app, ["models", "remove", MODEL_NAME], env=env).stdout
    assert runner.invoke(app, ["models", "remove", MODEL_NAME], env=env).exit_code == 1


def test_an_absent_model_or_an_invalid_hub_is_reported(tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    absent = runner.invoke(app, ["models", "get", MODEL_NAME, "--offline"], env=env)
    assert absent.exit_code == 1
    assert f"To install it: `echoic models get {MODEL_NAME}`." in absent.stderr
    assert runner.invoke(app, ["models", "get", MODEL_NAME, "--hub", "ftp://x"], env=env).exit_code == 2


def test_removing_an_unknown_model_lists_the_downloads(tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    assert "models: none." in CliRunner().invoke(app, ["models", "remove", "nonsense"], env=env).stderr
    (tmp_path / "whisper-base").mkdir()
    done = CliRunner().invoke(app, ["models", "remove", "nonsense"], env=env)
    assert done.exit_code == 1
    assert f"nonsense is not in {tmp_path}. Downloaded models: whisper-base." in done.stderr
