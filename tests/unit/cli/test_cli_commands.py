from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import echoic
from echoic.cli import checks, demo
from echoic.cli.models import _render_cells
from echoic.cli.program import app
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ["serve", "transcribe", "stream", "eval", "models", "keys", "doctor", "demo"]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
        monkeypatch.delenv(name)
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom echoic.cli.program import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'av', 'fastapi', 'websockets', 'onnxruntime'} & sys.modules.keys()))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.rstrip().endswith("[]")
    assert all(command in done.stdout for command in COMMANDS)


def test_the_client_loads_no_reader_of_files_until_one_is_sent() -> None:
    program = "import sys, echoic.client, echoic.client.blocking as _\nprint('av' in sys.modules)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "False\n"


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"echoic {echoic.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_never_shows_the_key(runner: CliRunner, command: str) -> None:
    done = runner.invoke(app, [command, "--help"], env={"ECHOIC_API_KEY": "s3cret"})
    assert done.exit_code == 0
    assert "s3cret" not in done.output


def test_models_lists_what_is_there_and_what_is_missing(runner: CliRunner) -> None:
    done = runner.invoke(app, ["models"])
    assert done.exit_code == 0
    assert "parakeet-onnx" in done.stdout
    rows = json.loads(runner.invoke(app, ["models", "--json"]).stdout)
    keys = {"id", "model", "variant", "available", "reason", "install", "word_timestamps", "languages"}
    assert keys | {"where", "size", "quantizations"} == rows[0].keys()


def test_models_says_where_a_model_is_how_large_and_in_which_quantization(runner: CliRunner) -> None:
    env = {"ECHOIC_PARAKEET_ONNX_DIR": str(TINY_PARAKEET_FOLDER), "COLUMNS": "200"}
    rows = json.loads(runner.invoke(app, ["models", "--json"], env=env).stdout)
    row = next(row for row in rows if row["id"] == "parakeet-onnx")
    assert (row["where"], row["quantizations"]) == (str(TINY_PARAKEET_FOLDER), ["fp16"])
    assert row["size"] > 5_000_000
    text = runner.invoke(app, ["models"], env=env).stdout
    assert re.search(r"parakeet-onnx +there +\d+ MiB +fp16", text)


def test_models_of_a_server_says_which_are_in_memory() -> None:
    row: dict[str, object] = {"id": "x", "available": True, "loaded": True, "reason": None}
    assert _render_cells(row)[0] == ("loaded", "green")


def test_doctor_says_what_onnxruntime_computes_by_and_what_was_cut_off(
    runner: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "whisper-base").mkdir()
    env = {"ECHOIC_MODELS_DIR": str(tmp_path), "ECHOIC_ONNX_PROVIDER": "cpu"}
    report = json.loads(runner.invoke(app, ["doctor", "--json", "--port", "0"], env=env).stdout)
    rows = {check["name"]: check for check in report["checks"]}
    assert rows["onnxruntime computes"]["found"].startswith("by CPU; it offers")
    assert rows["models"]["fix"] == "echoic models get whisper-base"
    env["ECHOIC_ONNX_PROVIDER"] = "tensorrt"
    report = json.loads(runner.invoke(app, ["doctor", "--json", "--port", "0"], env=env).stdout)
    row = next(check for check in report["checks"] if check["name"] == "onnxruntime computes")
    assert (row["state"], report["works"]) == ("note", True)


def test_doctor_finds_that_the_server_can_work(runner: CliRunner) -> None:
    done = runner.invoke(app, ["doctor", "--json", "--port", "0"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["works"]) == (0, True)
    names = {check["name"] for check in report["checks"]}
    assert {"python", "cores", "memory", "onnxruntime", "port", "write access"} <= names
    assert "The server can work here." in runner.invoke(app, ["doctor"]).stdout


def test_doctor_lists_settings_that_cannot_be_used_and_goes_on(runner: CliRunner, tmp_path: Path) -> None:
    env = {"ECHOIC_LOG_LEVEL": "loud", "ECHOIC_PROT": "1", "ECHOIC_MODELS_DIR": str(tmp_path)}
    done = runner.invoke(app, ["doctor", "--json", "--port", "0"], env=env)
    checks = json.loads(done.stdout)["checks"]
    problems = [check["found"] for check in checks if check["name"] == "settings"]
    assert done.exit_code == 1
    assert ["ECHOIC_LOG_LEVEL" in problem for problem in problems] == [False, True]
    assert {check["name"]: check["found"] for check in checks}["models"].startswith(str(tmp_path))


def test_removing_what_was_not_fetched_says_what_was(runner: CliRunner, tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    assert "nothing was." in runner.invoke(app, ["models", "remove", "nonsense"], env=env).stderr
    (tmp_path / "whisper-base").mkdir()
    done = runner.invoke(app, ["models", "remove", "nonsense"], env=env)
    assert done.exit_code == 1
    assert f"nonsense was not fetched; whisper-base was. The folder is {tmp_path}." in done.stderr


def test_doctor_says_how_to_get_what_is_missing(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.REQUIRED_PACKAGES, "no_such_module", "no-such-package")
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "pip install no-such-package" in done.stdout
    assert "cannot work" in done.stdout


def test_doctor_says_who_can_tell_speakers_apart(runner: CliRunner) -> None:
    report = json.loads(runner.invoke(app, ["doctor", "--json", "--port", "0"]).stdout)
    rows = {row["name"]: row for row in report["checks"] if row["name"].startswith("diarizer ")}
    assert [*rows] == [f"diarizer {one}" for one in ("embedded", "embedded-light", "pyannote", "sortformer")]
    assert rows["diarizer embedded"]["state"] == "ok"


def test_a_library_that_does_not_load_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text("raise ImportError('a shared object')")
    monkeypatch.syspath_prepend(tmp_path)
    check = checks.inspect_library("broken_library", "broken-library")
    assert (check.state, check.found) == ("missing", "installed, but cannot be imported")


def test_a_port_that_is_taken_is_worth_a_note() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        check = checks.inspect_port("127.0.0.1", taken.getsockname()[1])
    assert check.state == "note"
    assert check.fix


@pytest.mark.parametrize("command", [["stream"], ["transcribe", "--url", "127.0.0.1:1"]])
def test_a_file_that_is_none_is_a_sentence(runner: CliRunner, tmp_path: Path, command: list[str]) -> None:
    done = runner.invoke(app, [*command, str(tmp_path / "none.wav")])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == f"echoic: {tmp_path / 'none.wav'} cannot be opened: no such file or directory.\n"


def test_settings_that_cannot_be_used_are_all_named(runner: CliRunner) -> None:
    done = runner.invoke(app, ["serve", "--host", "0.0.0.0"], env={"ECHOIC_LOG_LEVEL": "loud"})  # noqa: S104  # refused
    assert done.exit_code == 2
    assert "ECHOIC_LOG_LEVEL" in done.stderr


def test_several_subtitles_want_a_folder(runner: CliRunner) -> None:
    done = runner.invoke(app, ["transcribe", "-f", "srt", "a.wav", "b.wav"])
    assert done.exit_code == 2
    assert "-o FOLDER" in done.stderr


@pytest.mark.parametrize("command", [["models"], ["stream", __file__], ["transcribe", __file__]])
def test_an_address_that_is_none_is_a_sentence(runner: CliRunner, command: list[str]) -> None:
    done = runner.invoke(app, [*command, "--url", "ftp://x"])
    assert done.exit_code != 0
    assert "must look like" in done.stderr


def test_models_of_a_server_that_is_not_there(runner: CliRunner) -> None:
    done = runner.invoke(app, ["models", "--url", "127.0.0.1:1"])
    assert done.exit_code == 1
    assert "No echoic server answers" in done.stderr


def test_the_demo_says_which_package_brings_its_recording(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_demo_recording", lambda: None)
    done = runner.invoke(app, ["demo"])
    assert done.exit_code == 1
    assert "pip install" in done.stderr


def rows_of_doctor(runner: CliRunner, *options: str, **env: str) -> dict[str, dict[str, str]]:
    done = runner.invoke(app, ["doctor", "--json", *options], env=env)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_doctor_looks_at_the_port_of_the_settings_although_others_are_wrong(runner: CliRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        rows = rows_of_doctor(runner, ECHOIC_PORT=port, ECHOIC_TLS_KEY_FILE="key.pem")
        assert rows["port"]["state"] == "note"
        assert rows["port"]["found"].startswith(f"127.0.0.1 {port}:")
    assert rows["settings"]["state"] == "missing"
    assert rows_of_doctor(runner, "--port", "0", ECHOIC_PORT=port)["port"]["found"].startswith("127.0.0.1 0 ")


def test_doctor_says_what_serve_would_of_a_network_without_a_key(runner: CliRunner) -> None:
    rows = rows_of_doctor(runner, "--host", "0.0.0.0", "--port", "0")  # noqa: S104  # looked at only
    assert "no API key is set" in rows["settings"]["found"]


def test_doctor_looks_whether_the_stores_can_be_reached(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("-----BEGIN CERTIFICATE-----")
    rows = rows_of_doctor(runner, "--port", "0", ECHOIC_KEYS_DB=str(file), REDIS_URL="redis://127.0.0.1:1/0")
    assert rows["keys"]["state"] == "missing"
    assert rows["keys"]["found"].startswith("cert.pem, where")
    assert rows["quotas"]["state"] == "note"
    new = tmp_path / "folder" / "keys.db"
    assert rows_of_doctor(runner, "--port", "0", ECHOIC_KEYS_DB=str(new))["keys"]["state"] == "ok"
    assert not new.parent.exists()
    nowhere = tmp_path / "cert.pem" / "keys.db"
    assert rows_of_doctor(runner, "--port", "0", ECHOIC_KEYS_DB=str(nowhere))["keys"]["state"] == "missing"
