from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from echoic.cli.program import app
from support.builders import make_key_in

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


CREATE_OPTIONS: list[tuple[str, ...]] = [
    (),
    ("--read-only",),
    ("--expires", "90d", "--tier", "premium"),
    ("--json",),
]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
        monkeypatch.delenv(name)
    env = {"COLUMNS": "200", "NO_COLOR": "1", "ECHOIC_KEYS_DB": str(tmp_path / "keys.db")}
    return CliRunner(env=env)


def run_keys(runner: CliRunner, *args: str) -> Result:
    return runner.invoke(app, ["keys", *args])


def list_rows(runner: CliRunner) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(run_keys(runner, "list", "--json").stdout)
    return found


def test_a_created_key_is_printed_once(runner: CliRunner) -> None:
    made = run_keys(runner, "create", "anna", "--tier", "premium", "--expires", "90d")
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert key.startswith("echoic_")
    listed = run_keys(runner, "list")
    assert key not in listed.output
    (row,) = list_rows(runner)
    assert (row["user"], row["tier"], row["rights"], row["standing"]) == (
        "anna",
        "premium",
        "read stream",
        "",
    )
    assert row["id"] in key
    assert row["id"] in listed.output
    assert row["expires"] > row["created"]


def test_no_file_of_the_store_contains_a_secret(runner: CliRunner, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "keys.db")  # keeps the write-ahead log
    holder.execute("PRAGMA journal_mode=WAL")
    shown = [
        run_keys(runner, "create", f"user {number}", *options).stdout
        for number, options in enumerate(CREATE_OPTIONS)
    ]
    made = [json.loads(text)["key"] if text.startswith("{") else text.strip() for text in shown]
    assert run_keys(runner, "revoke", made[0].split("_")[1]).exit_code == 0
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
def test_user_names_with_control_characters_are_refused(runner: CliRunner, name: str) -> None:
    assert run_keys(runner, "create", name).exit_code == 2
    assert list_rows(runner) == []


def test_markup_in_a_user_name_is_printed_literally(runner: CliRunner) -> None:
    for name in ("<b>x</b>", "[red]x[/red]", "[link=http://a.example]x[/link]", ":smiley:", "%s {0} $HOME"):
        assert run_keys(runner, "create", name).exit_code == 0
        assert name in run_keys(runner, "list").stdout
        assert name in {row["user"] for row in list_rows(runner)}


def test_only_the_json_of_create_contains_the_key(runner: CliRunner) -> None:
    made = json.loads(run_keys(runner, "create", "anna", "--read-only", "--json").stdout)
    assert made["key"].startswith(f"echoic_{made['id']}_")
    assert list_rows(runner) == [{name: value for name, value in made.items() if name != "key"}]
    assert made["rights"] == "read"


def test_a_key_is_revoked_by_its_id(runner: CliRunner) -> None:
    name = json.loads(run_keys(runner, "create", "anna", "--json").stdout)["id"]
    assert run_keys(runner, "revoke", name).exit_code == 0
    assert list_rows(runner)[0]["standing"] == "revoked"
    unknown = run_keys(runner, "revoke", "000000000000")
    assert unknown.exit_code == 1
    assert "no key with this id" in unknown.stderr


def test_a_tier_is_changed_for_all_keys_of_a_user(runner: CliRunner) -> None:
    for _ in range(2):
        run_keys(runner, "create", "anna")
    other = run_keys(runner, "create", "anna", "--tier", "premium")
    assert other.exit_code == 1
    assert "echoic keys tier anna premium" in other.stderr
    assert run_keys(runner, "tier", "anna", "premium").exit_code == 0
    assert [row["tier"] for row in list_rows(runner)] == ["premium", "premium"]
    assert run_keys(runner, "tier", "nobody", "free").exit_code == 1


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
def test_invalid_arguments_create_nothing(runner: CliRunner, args: tuple[str, ...]) -> None:
    done = run_keys(runner, *args)
    assert done.exit_code == 2
    assert done.stderr
    assert list_rows(runner) == []


def test_an_unknown_tier_needs_any_tier(runner: CliRunner) -> None:
    refused = run_keys(runner, "create", "anna", "--tier", "gold")
    assert (refused.exit_code, list_rows(runner)) == (2, [])
    assert "only: free, standard, premium." in refused.stderr
    taken = run_keys(runner, "create", "anna", "--tier", "gold", "--any-tier")
    assert (taken.exit_code, "limits of free" in taken.stderr) == (0, True)
    assert run_keys(runner, "tier", "anna", "platinum").exit_code == 2
    assert run_keys(runner, "tier", "anna", "gold", "--any-tier").exit_code == 0
    limits = {"AUDIO_TIER_LIMITS_JSON": '{"gold": {}}'}
    known = runner.invoke(app, ["keys", "create", "ben", "--tier", "gold"], env=limits)
    assert "limits of free" not in known.stderr
    assert [row["tier"] for row in list_rows(runner)] == ["gold", "gold"]


def test_a_narrow_list_does_not_fold_ids(runner: CliRunner) -> None:
    name = json.loads(run_keys(runner, "create", "a-user-with-a-long-name" * 4, "--json").stdout)["id"]
    assert name in runner.invoke(app, ["keys", "list"], env={"COLUMNS": "80"}).stdout


@pytest.mark.parametrize("expires", ["12h", "4w", "2931-01-31", "2931-01-31T12:00:00+02:00"])
def test_an_expiry_is_a_duration_a_day_or_a_time(runner: CliRunner, expires: str) -> None:
    assert run_keys(runner, "create", "anna", "--expires", expires).exit_code == 0


def test_without_a_store_the_setting_is_named(runner: CliRunner, tmp_path: Path) -> None:
    done = runner.invoke(app, ["keys", "list"], env={"ECHOIC_KEYS_DB": ""})
    assert done.exit_code == 2
    assert "keys_db" in done.stderr
    made = runner.invoke(
        app, ["keys", "create", "anna", "--db", str(tmp_path / "other.db")], env={"ECHOIC_KEYS_DB": ""}
    )
    assert made.exit_code == 0


def test_a_store_that_cannot_be_created_is_a_sentence(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_keys(runner, "list", "--db", str(tmp_path / "file" / "keys.db"))
    assert done.exit_code == 1
    assert "cannot be created" in done.stderr
