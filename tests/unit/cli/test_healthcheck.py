"""``echoic alive`` in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trustme

from support.command_line import run_command
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_alive_finds_the_server_by_its_port(scripted_server: str) -> None:
    port = scripted_server.rpartition(":")[2]
    assert run_command("alive", env={"ECHOIC_PORT": port}) == (0, "The server answers.\n", "")
    no_server = (1, "", "echoic: No server answers on port 1.\n")
    assert run_command("alive", env={"ECHOIC_PORT": "1"}) == no_server
    assert run_command("alive", env={"ECHOIC_PORT": "none"}).exit_code == 2


def test_alive_accepts_tls_and_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    trustme.CA().issue_cert("speech.example.org").private_key_and_cert_chain_pem.write_to_path(file)
    with ServerProcess(tls_cert_file=str(file), allowed_addresses="192.0.2.7") as server:
        env = {"ECHOIC_PORT": server.address.rpartition(":")[2]}
        assert run_command("alive", env=env | {"ECHOIC_TLS_CERT_FILE": str(file)}).exit_code == 0
        assert run_command("alive", env=env).exit_code == 1
