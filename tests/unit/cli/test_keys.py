from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from echoic.cli.program import app
from support.builders import make_key_in
from support.server_process import STREAM_PATH, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


#: Options of ``create``.
MORE: list[tuple[str, ...]] = [(), ("--read-only",), ("--expires", "90d", "--tier", "premium"), ("--json",)]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
        monkeypatch.delenv(name)
    env = {"COLUMNS": "200", "NO_COLOR": "1", "ECHOIC_KEYS_DB": str(tmp_path / "keys.db")}
    return CliRunner(env=env)


def keys(runner: CliRunner, *args: str) -> Result:
    return runner.invoke(app, ["keys", *args])


def rows(runner: CliRunner) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(keys(runner, "list", "--json").stdout)
    return found


def test_a_key_is_shown_once(runner: CliRunner) -> None:
    made = keys(runner, "create", "anna", "--tier", "premium", "--expires", "90d")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert key.startswith("echoic_")
    listed = keys(runner, "list")
    assert key not in listed.output
    (row,) = rows(runner)
    assert (row["user"], row["tier"], row["rights"], row["standing"]) == (
        "anna",
        "premium",
        "read stream",
        "",
    )
    assert row["id"] in key
    assert row["id"] in listed.output
    assert row["expires"] > row["created"]


def test_the_store_holds_no_key_in_any_table_or_byte(runner: CliRunner, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "keys.db")  # so that the write-ahead log stays
    holder.execute("PRAGMA journal_mode=WAL")
    shown = [keys(runner, "create", f"user {number}", *more).stdout for number, more in enumerate(MORE)]
    made = [json.loads(text)["key"] if text.startswith("{") else text.strip() for text in shown]
    assert keys(runner, "revoke", made[0].split("_")[1]).exit_code == 0
    made += [asyncio.run(make_key_in(tmp_path / "keys.db")).text for _ in range(3)]
    dump = "\n".join(holder.iterdump())
    parts = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    holder.close()
    assert {"keys.db", "keys.db-wal"} <= set(parts)
    assert all(key.split("_")[1] in dump for key in made)
    for key in made:
        secret = key.split("_", 2)[2]
        raw = secret.encode()
        forms = (raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64decode(raw + b"="))
        assert secret not in dump
        assert not [name for name, content in parts.items() for form in forms if form in content]


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a\x1b[31mb", "a\0b", "a\u202eb", "a\u2028b", "a\x9bb", "", " a", "a ", "x" * 129, "\ud800"],
)
def test_no_user_has_a_name_that_a_terminal_or_a_log_would_obey(runner: CliRunner, name: str) -> None:
    assert keys(runner, "create", name).exit_code == 2
    assert rows(runner) == []


def test_a_name_is_shown_as_it_is_and_never_as_what_it_could_mean(runner: CliRunner) -> None:
    for name in ("<b>x</b>", "[red]x[/red]", "[link=http://a.example]x[/link]", ":smiley:", "%s {0} $HOME"):
        assert keys(runner, "create", name).exit_code == 0
        assert name in keys(runner, "list").stdout
        assert name in {row["user"] for row in rows(runner)}


def test_json_holds_the_key_only_where_it_was_made(runner: CliRunner) -> None:
    made = json.loads(keys(runner, "create", "anna", "--read-only", "--json").stdout)
    assert made["key"].startswith(f"echoic_{made['id']}_")
    assert rows(runner) == [{name: value for name, value in made.items() if name != "key"}]
    assert made["rights"] == "read"


def test_a_key_is_revoked_by_its_id(runner: CliRunner) -> None:
    name = json.loads(keys(runner, "create", "anna", "--json").stdout)["id"]
    assert keys(runner, "revoke", name).exit_code == 0
    assert rows(runner)[0]["standing"] == "revoked"
    unknown = keys(runner, "revoke", "000000000000")
    assert unknown.exit_code == 1
    assert "no key with this id" in unknown.stderr


def test_a_tier_is_changed_for_all_keys_of_a_user(runner: CliRunner) -> None:
    for _ in range(2):
        keys(runner, "create", "anna")
    other = keys(runner, "create", "anna", "--tier", "premium")
    assert other.exit_code == 1
    assert "echoic keys tier anna premium" in other.stderr
    assert keys(runner, "tier", "anna", "premium").exit_code == 0
    assert [row["tier"] for row in rows(runner)] == ["premium", "premium"]
    assert keys(runner, "tier", "nobody", "free").exit_code == 1


@pytest.mark.parametrize(
    "args",
    [
        ("create", ""),
        ("create", "a\nb"),
        ("create", "anna", "--tier", "Gold Plated"),
        ("create", "anna", "--tier", "local"),
        ("create", "anna", "--expires", "soon"),
        ("create", "anna", "--expires", "0d"),
        ("create", "anna", "--expires", "2001-01-31"),
        ("tier", "anna", "!"),
    ],
)
def test_what_cannot_be_is_told_and_makes_nothing(runner: CliRunner, args: tuple[str, ...]) -> None:
    done = keys(runner, *args)
    assert done.exit_code == 2
    assert done.stderr
    assert rows(runner) == []


def test_a_tier_that_nobody_set_is_refused_unless_it_may_be_any(runner: CliRunner) -> None:
    refused = keys(runner, "create", "anna", "--tier", "gold")
    assert (refused.exit_code, rows(runner)) == (2, [])
    assert "there are: free, standard, premium." in refused.stderr
    taken = keys(runner, "create", "anna", "--tier", "gold", "--any-tier")
    assert (taken.exit_code, "limits of free" in taken.stderr) == (0, True)
    assert keys(runner, "tier", "anna", "platinum").exit_code == 2
    assert keys(runner, "tier", "anna", "gold", "--any-tier").exit_code == 0
    limits = {"AUDIO_TIER_LIMITS_JSON": '{"gold": {}}'}
    known = runner.invoke(app, ["keys", "create", "ben", "--tier", "gold"], env=limits)
    assert "limits of free" not in known.stderr
    assert [row["tier"] for row in rows(runner)] == ["gold", "gold"]


def test_the_list_of_keys_has_whole_ids_however_narrow_it_is(runner: CliRunner) -> None:
    name = json.loads(keys(runner, "create", "a-user-with-a-long-name" * 4, "--json").stdout)["id"]
    assert name in runner.invoke(app, ["keys", "list"], env={"COLUMNS": "80"}).stdout


@pytest.mark.parametrize("expires", ["12h", "4w", "2931-01-31", "2931-01-31T12:00:00+02:00"])
def test_a_key_may_expire_after_a_while_or_at_a_moment(runner: CliRunner, expires: str) -> None:
    assert keys(runner, "create", "anna", "--expires", expires).exit_code == 0


def test_without_a_store_it_says_where_to_name_one(runner: CliRunner, tmp_path: Path) -> None:
    done = runner.invoke(app, ["keys", "list"], env={"ECHOIC_KEYS_DB": ""})
    assert done.exit_code == 2
    assert "keys_db" in done.stderr
    made = runner.invoke(
        app, ["keys", "create", "anna", "--db", str(tmp_path / "other.db")], env={"ECHOIC_KEYS_DB": ""}
    )
    assert made.exit_code == 0


def test_a_store_that_cannot_be_had_is_told(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = keys(runner, "list", "--db", str(tmp_path / "file" / "keys.db"))
    assert done.exit_code == 1
    assert "cannot be created" in done.stderr


def test_keys_are_made_and_revoked_while_a_server_runs(runner: CliRunner, tmp_path: Path) -> None:
    def command(*args: str) -> str:
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ECHOIC_KEYS_DB": file}
        call = [sys.executable, "-m", "echoic.cli", "keys", *args]
        return subprocess.run(call, capture_output=True, text=True, env=env, check=True).stdout

    file = str(tmp_path / "keys.db")
    with ServerProcess(keys_db=file, log_level="debug") as server:
        url = f"ws://{server.address}{STREAM_PATH}"
        made = json.loads(command("create", "anna", "--json"))
        with connect(f"{url}?token={made['key']}") as client:
            client.send('{"type":"ping"}')
            assert json.loads(client.recv()) == {"type": "pong"}
        command("revoke", made["id"])
        with connect(url, additional_headers={"X-API-KEY": made["key"]}) as client:
            assert json.loads(client.recv())["code"] == "unauthorized"
            with pytest.raises(ConnectionClosed):
                client.recv()
        server.process.terminate()
        code, log = server.wait_for_exit()
    assert (code, made["id"] in log) == (0, True)
    assert made["key"] not in log + "".join(server.stdout_lines)
    assert rows(runner)[0]["last_used"]
