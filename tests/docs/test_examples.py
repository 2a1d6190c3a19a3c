"""Settings, requests and frames that the documents show are taken by the server."""

from __future__ import annotations

import re
import shlex
import urllib.request
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
import trustme
from websockets.sync.client import connect

from echoic.server.settings.groups import SETTINGS
from echoic.server.settings.load import load_settings
from support.documents import GUIDES, find_blocks, find_inline_code, to_relative_name
from support.server_process import STREAM_PATH, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLES: Final = {variable for setting in SETTINGS.values() for variable in setting.env_names}
#: What a line about one setting may take for granted.
GIVEN: Final = {
    "ECHOIC_API_KEY": "k",
    "ECHOIC_INSIGHTS_BASE_URL": "http://127.0.0.1:9/v1",
    "ECHOIC_INSIGHTS_MODEL": "m",
}
#: A line of a file of settings, within a line of a document.
SETTING: Final = re.compile(r"([a-z_]+) = \S+")


def section_of(name: str) -> str | None:
    """Return the section that a line of a file belongs to; None: the line is about something else."""
    if name in SETTINGS:
        return SETTINGS[name].section
    return "Audio-Quota" if name.endswith(("_daily_minutes", "_concurrent_streams")) else None


def files_of_settings() -> Iterator[tuple[str, str]]:
    """Yield the files of settings in the documents, also those of one line, and where they stand."""
    for document in GUIDES:
        for body in find_blocks(document, "ini"):
            if body.startswith("["):
                yield to_relative_name(document), body
        for code in find_inline_code(document):
            if (line := SETTING.fullmatch(code)) and (section := section_of(line[1])):
                yield to_relative_name(document), f"[{section}]\n{code}\n"


def environments() -> Iterator[tuple[str, str]]:
    """Yield the variables in the documents, those of a block together, and where they stand."""
    for document in GUIDES:
        for body in (*find_blocks(document, "ini"), *find_inline_code(document)):
            if re.match(r"[A-Z_]+=\S", body) and body.partition("=")[0] in VARIABLES:
                yield to_relative_name(document), body


def configs() -> list[tuple[str, str]]:
    """Return the configs in the documents beside the protocol, whose frames are conformance's."""
    others = [document for document in GUIDES if document.name != "protocol.md"]
    frames = [
        (to_relative_name(document), body) for document in others for body in find_blocks(document, "json")
    ]
    return [frame for frame in frames if '"config"' in frame[1]]


def requests() -> set[str]:
    return {
        code[4:] for document in GUIDES for code in find_inline_code(document) if code.startswith("GET /")
    }


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the files that settings name."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "fullchain.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    (tmp_path / "terms.txt").write_text("Zarathustra\n", "utf-8")
    (tmp_path / "replacements.txt").write_text("phase or=Phasor\n", "utf-8")
    return tmp_path


def here(text: str, folder: Path) -> str:
    """Return settings with the files that they name in a folder."""
    return re.sub(r"/(?:etc|var)/\S*/(?=\w)", f"{folder}/", text)


@pytest.mark.parametrize(("document", "text"), sorted(set(files_of_settings())))
def test_a_file_of_settings_can_be_used(document: str, text: str, kept: Path) -> None:
    file = kept / "echoic.ini"
    file.write_text(here(text, kept), "utf-8")
    assert load_settings(file, GIVEN) != load_settings(None, GIVEN), document


@pytest.mark.parametrize(("document", "text"), sorted(set(environments())))
def test_variables_can_be_used(document: str, text: str, kept: Path) -> None:
    given = dict(word.split("=", 1) for word in shlex.split(here(text, kept)))
    changed = load_settings(None, GIVEN | given) != load_settings(None, GIVEN)
    assert changed, document


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.mark.parametrize("path", sorted(requests()))
def test_a_request_is_answered(path: str, address: str) -> None:
    with urllib.request.urlopen(f"http://{address}{path}") as answer:  # to loopback
        assert answer.status == 200


def test_every_metric_is_told_of_and_none_that_there_is_not(address: str) -> None:
    told = {
        name
        for document in GUIDES
        for name in find_inline_code(document)
        if re.fullmatch(r"echoic(_[a-z]+)+", name)
    }
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:  # to loopback
        exported = re.findall(r"^# TYPE (echoic_\w+)", answer.read().decode(), re.MULTILINE)
    assert told == {name for name in exported if not name.endswith("_created")}


@pytest.mark.parametrize(("document", "text"), configs())
def test_a_config_is_taken_and_nothing_in_it_is_ignored(document: str, text: str, address: str) -> None:
    with connect(f"ws://{address}{STREAM_PATH}") as stream:
        stream.send(text)
        told: dict[str, object] = {}
        while told.get("type") != "status":
            told = msgspec.json.decode(stream.recv(), type=dict[str, object])
    assert (told["state"], told["ignored"]) == ("configured", []), document


def test_the_looking_finds_what_there_is_to_find() -> None:
    assert {"docs/settings.md", "docs/insights.md", "docs/vocabulary.md"} <= {
        document for document, _ in files_of_settings()
    }
    assert "docs/deploy.md" in {document for document, _ in environments()}
    assert {document for document, _ in configs()} >= {"docs/insights.md", "docs/vocabulary.md"}
    assert {"/readyz", "/metrics"} <= requests()
