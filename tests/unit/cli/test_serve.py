from __future__ import annotations

from support.command_line import run_command


def test_invalid_settings_are_named() -> None:
    env = {"ECHOIC_LOG_LEVEL": "loud", "ECHOIC_PORT": "many"}
    status, out, err = run_command("serve", env=env)
    assert (status, out) == (2, "")
    assert "ECHOIC_LOG_LEVEL" in err
    assert "ECHOIC_PORT" in err


def test_a_network_address_needs_a_key() -> None:
    done = run_command("serve", "--host", "0.0.0.0")  # noqa: S104  # refused
    assert done.exit_code == 2
    assert "no API key is set" in done.stderr
