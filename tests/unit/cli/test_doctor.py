"""``echoic doctor`` in this process."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from echoic.cli import checks
from support.command_line import run_command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def run_doctor(*options: str, **env: str) -> dict[str, dict[str, str]]:
    """Return the checks by name; of problems with settings, the last."""
    done = run_command("doctor", "--json", *options, env=env)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_the_server_can_work_here() -> None:
    done = run_command("doctor", "--json", "--port", "0")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["works"]) == (0, True)
    names = {check["name"] for check in report["checks"]}
    assert {"python", "cores", "memory", "onnxruntime", "port", "write access"} <= names
    assert "The server can work here." in run_command("doctor").stdout


def test_invalid_settings_are_listed_and_the_rest_is_checked(tmp_path: Path) -> None:
    env = {"ECHOIC_LOG_LEVEL": "loud", "ECHOIC_PROT": "1", "ECHOIC_MODELS_DIR": str(tmp_path)}
    done = run_command("doctor", "--json", "--port", "0", env=env)
    rows = json.loads(done.stdout)["checks"]
    problems = [row["found"] for row in rows if row["name"] == "settings"]
    assert done.exit_code == 1
    assert ["ECHOIC_LOG_LEVEL" in problem for problem in problems] == [False, True]
    assert {row["name"]: row["found"] for row in rows}["models"].startswith(str(tmp_path))


def test_a_missing_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.REQUIRED_PACKAGES, "no_such_module", "no-such-package")
    done = run_command("doctor")
    assert done.exit_code == 1
    assert "pip install no-such-package" in done.stdout
    assert "cannot work" in done.stdout


def test_the_port_of_the_settings_is_checked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        rows = run_doctor(ECHOIC_PORT=port, ECHOIC_TLS_KEY_FILE="key.pem")
        assert rows["port"]["state"] == "note"
        assert rows["port"]["found"].startswith(f"127.0.0.1 {port}:")
    assert rows["settings"]["state"] == "missing"
    assert run_doctor("--port", "0", ECHOIC_PORT=port)["port"]["found"].startswith("127.0.0.1 0 ")


def test_a_network_address_needs_a_key() -> None:
    rows = run_doctor("--host", "0.0.0.0", "--port", "0")  # noqa: S104  # nothing listens
    assert "no API key is set" in rows["settings"]["found"]
