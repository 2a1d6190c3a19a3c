"""``echoic serve`` and ``echoic keys`` in processes."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from echoic.protocol.constants import STREAM_PATH
from support.command_line import WORDS, run_command
from support.server_process import ServerProcess
from support.terminal import start_command
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path


def test_serve_greets_serves_and_stops_on_a_signal(recording: Path) -> None:
    env = {"ECHOIC_SCRIPTED_ENGINE": "yes", "ECHOIC_PRELOAD_MODEL": "scripted", "ECHOIC_API_KEY": "s3cret"}
    process = start_command("serve", "--port", "0", env=env)
    try:
        assert process.stdout
        lines = (line.decode() for line in process.stdout)
        address = next(found[1] for line in lines if (found := re.search(r"ws://(\S+?)/", line)))
        args = ("transcribe", str(recording), "--url", address, "--model", "scripted")
        status, out, err = run_command(*args, env={"ECHOIC_API_KEY": "wrong"})
        assert (status, out) == (1, "")
        assert "The API key is wrong." in err
        assert "--key KEY" in run_command(*args).stderr
        done = run_command(*args, env={"ECHOIC_API_KEY": "s3cret"})
        assert done[:2] == (0, " ".join(WORDS) + "\n")
        process.send_signal(signal.SIGTERM)
        output = b"".join(process.communicate(timeout=WAIT_SECONDS))
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
    assert b"s3cret" not in output


def test_a_full_server_advises_when_to_retry(recording: Path) -> None:
    with (
        ServerProcess(max_sessions="1", retry_after_seconds="7") as server,
        connect(f"ws://{server.address}{STREAM_PATH}") as first,
    ):
        first.send('{"type":"config","model":"scripted"}')
        first.recv()
        done = run_command("stream", str(recording), "--url", server.address, "--model", "scripted")
    assert done.exit_code == 1
    assert done.stderr.endswith(" Retry after 7 s.\n")


def test_keys_are_created_and_revoked_while_a_server_runs(tmp_path: Path) -> None:
    env = {"ECHOIC_KEYS_DB": str(tmp_path / "keys.db")}
    with ServerProcess(keys_db=env["ECHOIC_KEYS_DB"], log_level="debug") as server:
        url = f"ws://{server.address}{STREAM_PATH}"
        key = json.loads(run_command("keys", "create", "anna", "--json", env=env).stdout)
        with connect(f"{url}?token={key['key']}") as client:
            client.send('{"type":"ping"}')
            assert json.loads(client.recv()) == {"type": "pong"}
        assert run_command("keys", "revoke", key["id"], env=env).exit_code == 0
        with connect(url, additional_headers={"X-API-KEY": key["key"]}) as client:
            assert json.loads(client.recv())["code"] == "unauthorized"
            with pytest.raises(ConnectionClosed):
                client.recv()
        server.process.terminate()
        code, log = server.wait_for_exit()
    assert (code, key["id"] in log) == (0, True)
    assert key["key"] not in log + "".join(server.stdout_lines)
    [row] = json.loads(run_command("keys", "list", "--json", env=env).stdout)
    assert row["last_used"]
