from __future__ import annotations

import os
import subprocess
import sys

import pytest

import echoic
from support.command_line import run_command

COMMANDS = ["serve", "transcribe", "stream", "eval", "models", "keys", "doctor", "demo"]


def run_code(code: str) -> str:
    """Run code in a new interpreter; return its stdout."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return done.stdout


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    output = run_code(
        "import sys\nfrom echoic.cli.program import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'av', 'fastapi', 'websockets', 'onnxruntime'} & sys.modules.keys()))"
    )
    assert output.rstrip().endswith("[]")
    assert all(command in output for command in COMMANDS)


def test_importing_the_client_does_not_import_av() -> None:
    code = "import sys, echoic.client, echoic.client.blocking as _\nprint('av' in sys.modules)"
    assert run_code(code) == "False\n"


def test_the_version_is_printed() -> None:
    assert run_command("--version").stdout == f"echoic {echoic.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_never_shows_the_key(command: str) -> None:
    done = run_command(command, "--help", env={"ECHOIC_API_KEY": "s3cret"})
    assert done.exit_code == 0
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["models"], ["stream", __file__], ["transcribe", __file__]])
def test_an_invalid_address_is_a_sentence(command: list[str]) -> None:
    done = run_command(*command, "--url", "ftp://x")
    assert done.exit_code != 0
    assert "must look like" in done.stderr
