"""The server accepts the settings, requests and frames in the documents."""

from __future__ import annotations

import re
import shlex
import urllib.request
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
import trustme
from websockets.sync.client import connect

from echoic.protocol.constants import STREAM_PATH
from echoic.server.settings.groups import SETTINGS
from echoic.server.settings.load import load_settings
from support.documents import GUIDES, find_blocks, find_inline_code, to_relative_name
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLES: Final = {variable for setting in SETTINGS.values() for variable in setting.env_names}
#: Settings that a line about one setting presupposes.
BASE_ENVIRONMENT: Final = {
    "ECHOIC_API_KEY": "k",
    "ECHOIC_INSIGHTS_BASE_URL": "http://127.0.0.1:9/v1",
    "ECHOIC_INSIGHTS_MODEL": "m",
}
#: A line of a settings file as inline code.
SETTING_PATTERN: Final = re.compile(r"([a-z_]+) = \S+")


def find_section(name: str) -> str | None:
    """Return the section of a setting's line, or None if it is no setting."""
    if name in SETTINGS:
        return SETTINGS[name].section
    return "Audio-Quota" if name.endswith(("_daily_minutes", "_concurrent_streams")) else None


def find_settings_files() -> Iterator[tuple[str, str]]:
    """Yield each settings file in the documents, also of one line, with its document."""
    for document in GUIDES:
        for body in find_blocks(document, "ini"):
            if body.startswith("["):
                yield to_relative_name(document), body
        for code in find_inline_code(document):
            if (line := SETTING_PATTERN.fullmatch(code)) and (section := find_section(line[1])):
                yield to_relative_name(document), f"[{section}]\n{code}\n"


def find_environments() -> Iterator[tuple[str, str]]:
    """Yield the environment variables in the documents, by block, with the document."""
    for document in GUIDES:
        for body in (*find_blocks(document, "ini"), *find_inline_code(document)):
            if re.match(r"[A-Z_]+=\S", body) and body.partition("=")[0] in VARIABLES:
                yield to_relative_name(document), body


def find_configs() -> list[tuple[str, str]]:
    """Return the configs in all documents but the protocol, which tests/conformance covers."""
    others = [document for document in GUIDES if document.name != "protocol.md"]
    frames = [
        (to_relative_name(document), body) for document in others for body in find_blocks(document, "json")
    ]
    return [frame for frame in frames if '"config"' in frame[1]]


def find_requests() -> set[str]:
    return {
        code[4:] for document in GUIDES for code in find_inline_code(document) if code.startswith("GET /")
    }


@pytest.fixture
def settings_folder(tmp_path: Path) -> Path:
    """Create a folder with the files that settings name."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "fullchain.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    (tmp_path / "terms.txt").write_text("Zarathustra\n", "utf-8")
    (tmp_path / "replacements.txt").write_text("phase or=Phasor\n", "utf-8")
    return tmp_path


def replace_folders(text: str, folder: Path) -> str:
    """Replace the folders of files in settings."""
    return re.sub(r"/(?:etc|var)/\S*/(?=\w)", f"{folder}/", text)


@pytest.mark.parametrize(("document", "text"), sorted(set(find_settings_files())))
def test_a_settings_file_is_valid(document: str, text: str, settings_folder: Path) -> None:
    file = settings_folder / "echoic.ini"
    file.write_text(replace_folders(text, settings_folder), "utf-8")
    assert load_settings(file, BASE_ENVIRONMENT) != load_settings(None, BASE_ENVIRONMENT), document


@pytest.mark.parametrize(("document", "text"), sorted(set(find_environments())))
def test_environment_variables_are_valid(document: str, text: str, settings_folder: Path) -> None:
    given = dict(word.split("=", 1) for word in shlex.split(replace_folders(text, settings_folder)))
    changed = load_settings(None, BASE_ENVIRONMENT | given) != load_settings(None, BASE_ENVIRONMENT)
    assert changed, document


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.mark.parametrize("path", sorted(find_requests()))
def test_a_request_is_answered(path: str, address: str) -> None:
    with urllib.request.urlopen(f"http://{address}{path}") as answer:  # to loopback
        assert answer.status == 200


def test_all_exported_metrics_are_documented(address: str) -> None:
    names = {
        name
        for document in GUIDES
        for name in find_inline_code(document)
        if re.fullmatch(r"echoic(_[a-z]+)+", name)
    }
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:  # to loopback
        exported = re.findall(r"^# TYPE (echoic_\w+)", answer.read().decode(), re.MULTILINE)
    assert names == {name for name in exported if not name.endswith("_created")}


@pytest.mark.parametrize(("document", "text"), find_configs())
def test_a_config_is_accepted_and_no_key_is_ignored(document: str, text: str, address: str) -> None:
    with connect(f"ws://{address}{STREAM_PATH}") as stream:
        stream.send(text)
        frame: dict[str, object] = {}
        while frame.get("type") != "status":
            frame = msgspec.json.decode(stream.recv(), type=dict[str, object])
    assert (frame["state"], frame["ignored"]) == ("configured", []), document


def test_settings_requests_and_configs_are_found() -> None:
    assert {"docs/settings.md", "docs/insights.md", "docs/vocabulary.md"} <= {
        document for document, _ in find_settings_files()
    }
    assert "docs/deploy.md" in {document for document, _ in find_environments()}
    assert {document for document, _ in find_configs()} >= {"docs/insights.md", "docs/vocabulary.md"}
    assert {"/readyz", "/metrics"} <= find_requests()
