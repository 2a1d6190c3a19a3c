from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from echoic.cli.program import app
from echoic.engines.store.catalogue import MODEL_SOURCES
from support.fake_hub import ENCODER_FILE, MODEL_NAME, FakeHub


def test_get_downloads_lists_and_remove_removes(hub: FakeHub, tmp_path: Path) -> None:
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
    assert "is removed" in runner.invoke(app, ["models", "remove", MODEL_NAME], env=env).stdout
    assert runner.invoke(app, ["models", "remove", MODEL_NAME], env=env).exit_code == 1


def test_get_reports_what_is_wrong(tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    absent = runner.invoke(app, ["models", "get", MODEL_NAME, "--offline"], env=env)
    assert absent.exit_code == 1
    assert f"To install it: `echoic models get {MODEL_NAME}`." in absent.stderr
    assert runner.invoke(app, ["models", "get", MODEL_NAME, "--hub", "ftp://x"], env=env).exit_code == 2
