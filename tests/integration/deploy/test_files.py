"""Checks that deploy/ and the Dockerfile name existing files, commands, extras and settings."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from echoic.cli.program import app
from echoic.server.settings.groups import ENV_PREFIX, FOREIGN_ENV_NAMES, SETTINGS, Settings
from echoic.server.settings.load import load_settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
#: Variables that only Caddy reads.
CADDY_VARIABLES = {"ECHOIC_SITE", "ECHOIC_UPSTREAM_HOST", "ECHOIC_UPSTREAM_PORT"}
VARIABLES = {variable for setting in SETTINGS.values() for variable in setting.env_names}
CADDY = (DEPLOY / "Caddyfile").read_text("utf-8")
NGINX = re.sub(r"#.*", "", (DEPLOY / "nginx.conf").read_text("utf-8"))


def find_instructions(name: str) -> list[str]:
    return re.findall(rf"^\s*{name} (.*)$", DOCKERFILE, re.MULTILINE)


def read_unit() -> dict[str, list[str]]:
    """Return the values of the systemd unit by key; some keys have several."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "echoic.service").read_text("utf-8").splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def is_ignored(path: str) -> bool:
    """Return whether .dockerignore excludes a file; the last matching pattern decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        folders = [path, *map(str, Path(path).parents)]
        matches = any(fnmatch.fnmatch(one, pattern.removeprefix("**/")) for one in folders)
        if line and not line.startswith("#") and matches:
            ignored = not line.startswith("!")
    return ignored


def test_files_copied_into_the_image_exist() -> None:
    sources = [
        source for line in find_instructions("COPY") if "--from" not in line for source in line.split()[:-1]
    ]
    assert {"pyproject.toml", "src"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


def test_the_build_context_holds_nothing_else() -> None:
    for path in (".git/config", "docs/deploy.md", "tests/conftest.py", "keys.db", "src/echoic/x.pyc"):
        assert is_ignored(path), path
    assert not is_ignored("src/echoic/server/page/index.html")


def test_all_files_of_the_package_are_copied() -> None:
    copied = " ".join(find_instructions("COPY")).split()
    assert PROJECT["readme"] in copied
    assert all(Path(file).parts[0] in copied for file in PROJECT["license-files"])


def test_the_image_runs_the_echoic_command() -> None:
    command = json.loads(find_instructions("CMD")[-1])
    assert command[0] in PROJECT["scripts"]
    assert command[1] in getattr(get_command(app), "commands", {})


def test_the_health_check_reads_the_settings() -> None:
    (check,) = find_instructions("HEALTHCHECK")
    program, command = json.loads(check[check.index("[") :])
    assert program in PROJECT["scripts"]
    assert command == "alive"
    assert command in getattr(get_command(app), "commands", {})


def test_the_image_installs_existing_extras() -> None:
    defaults = [value for line in find_instructions("ARG") for value in line.partition("=")[2].split(",")]
    built = COMPOSE["services"]["server"]["build"]["args"]["EXTRAS"].split(",")
    cases = re.findall(r"\*,(\w+),\*", DOCKERFILE)
    assert defaults
    assert {*defaults, *built, *cases} <= set(PROJECT["optional-dependencies"])


def test_the_image_has_the_right_python_and_is_not_root() -> None:
    minor = PROJECT["requires-python"].removeprefix(">=")
    bases = [line for line in find_instructions("FROM") if line.startswith("python:")]
    assert bases
    assert all(line.startswith(f"python:{minor}-") for line in bases)
    assert find_instructions("USER") == ["echoic"]


@pytest.mark.parametrize(
    "file",
    [
        ROOT / "Dockerfile",
        *sorted(DEPLOY.glob("*")),
        ROOT / "docs" / "deploy.md",
        ROOT / "docs" / "operations.md",
    ],
    ids=lambda file: file.name,
)
def test_every_named_variable_is_a_setting(file: Path) -> None:
    named = set(re.findall(rf"\b(?:{ENV_PREFIX}[A-Z_]+|REDIS_URL)\b", file.read_text("utf-8")))
    assert named <= VARIABLES | CADDY_VARIABLES | FOREIGN_ENV_NAMES


def parse_assignments(lines: list[str]) -> dict[str, str]:
    return {name: value for line in lines for name, _, value in [line.partition("=")]}


def test_the_environments_make_valid_settings() -> None:
    image = parse_assignments(
        [word for line in find_instructions("ENV") for word in line.split() if "ECHOIC_" in word]
    )
    compose = COMPOSE["services"]["server"]["environment"]
    together = load_settings(None, image | compose)
    assert (together.server.host, together.auth.is_key_required) == ("0.0.0.0", True)  # noqa: S104  # within the container
    service = load_settings(None, parse_assignments(read_unit()["Environment"]))
    assert service.auth.is_key_required


def test_stop_timeouts_exceed_the_drain_time() -> None:
    drain = Settings().server.drain_seconds
    assert float(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s")) > drain + 5
    assert float(read_unit()["TimeoutStopSec"][0]) > drain + 5
    assert read_unit()["KillMode"] == ["mixed"]


def test_compose_names_existing_files_and_volumes() -> None:
    build = COMPOSE["services"]["server"]["build"]
    assert ((DEPLOY / build["context"]) / "Dockerfile").exists()
    for service in COMPOSE["services"].values():
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    (subnet,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    assert COMPOSE["services"]["server"]["environment"]["ECHOIC_TRUSTED_PROXIES"] == subnet["subnet"]
    assert not COMPOSE["services"]["server"].get("ports")  # only by the proxy


def test_compose_reads_an_optional_ignored_env_file() -> None:
    (file,) = COMPOSE["services"]["server"]["env_file"]
    assert file["required"] is False
    assert f"/deploy/{file['path']}" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert f"`deploy/{file['path']}`" in (ROOT / "docs" / "deploy.md").read_text("utf-8")


def test_the_systemd_unit_starts_the_echoic_command() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(DEPLOY / "echoic.service", "utf-8")
    assert parser.sections() == ["Unit", "Service", "Install"]
    program, command = shlex.split(read_unit()["ExecStart"][0])
    assert Path(program).name in PROJECT["scripts"]
    assert command in getattr(get_command(app), "commands", {})


def test_the_systemd_unit_does_not_retry_invalid_settings() -> None:
    wrong = CliRunner().invoke(app, ["serve"], env={"ECHOIC_PORT": "none"})
    assert read_unit()["RestartPreventExitStatus"] == [str(wrong.exit_code)] == ["2"]


def test_nginx_forwards_websockets_and_logs_no_query() -> None:
    for header in ("Upgrade", "Connection", "Host", "X-Forwarded-For"):
        assert re.search(rf"proxy_set_header {header}\s+\$", NGINX), header
    assert "proxy_http_version 1.1;" in NGINX
    assert NGINX.count("{") == NGINX.count("}")
    read = re.search(r"proxy_read_timeout (\d+)s;", NGINX)
    assert read is not None
    assert float(read[1]) > Settings().server.idle_timeout_seconds
    log = re.search(r"log_format .*", NGINX)
    assert log is not None
    assert not re.search(r"\$(request|request_uri|args|query_string|arg_\w+)\b", log[0])
    servers = NGINX.split("server {")[1:]
    for server in servers:  # its log of errors quotes the request, at any other level
        assert re.search(r"access_log\s+\S+ echoic;", server)
        assert re.search(r"error_log\s+\S+ emerg;", server)


def test_caddy_logs_no_query_and_no_header() -> None:
    fields = re.search(r"fields \{(.*?)\}", CADDY, re.DOTALL)
    assert fields is not None
    assert 'request>uri regexp "[?].*" ""' in fields[1]
    assert "request>headers delete" in fields[1]


def test_both_proxies_route_a_client_to_the_same_process() -> None:
    (upstream,) = re.findall(r"upstream echoic \{(.*?)\}", NGINX, re.DOTALL)
    assert "hash $binary_remote_addr consistent;" in upstream
    assert re.findall(r"lb_policy (\w+)", CADDY) == ["client_ip_hash"]


def test_both_proxies_hide_the_metrics() -> None:
    assert re.search(r"location = /metrics \{\s*return 404;", NGINX)
    assert "@inside path /metrics" in CADDY
    assert CADDY.count("{") == CADDY.count("}")
