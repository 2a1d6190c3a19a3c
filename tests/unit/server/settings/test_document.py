from __future__ import annotations

import re

from echoic.server.settings.document import render_document
from echoic.server.settings.groups import FOREIGN_ENV_NAMES, SETTINGS

ROW = re.compile(r"^\| `(\w+)` \| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
TEXT = render_document()


def test_each_setting_has_a_row_in_its_section() -> None:
    rows: dict[str, tuple[str, list[str]]] = {}
    for part in TEXT.split("\n## [")[1:]:
        section, _, body = part.partition("]")
        rows |= {name: (section, re.findall(r"`(\w+)`", env)) for name, env, _ in ROW.findall(body)}
    assert rows == {name: (one.section, list(one.env_names)) for name, one in SETTINGS.items()}
    assert len(ROW.findall(TEXT)) == len(SETTINGS)


def test_defaults_are_written_as_in_the_file() -> None:
    defaults = {name: default for name, _, default in ROW.findall(TEXT)}
    assert defaults["port"] == "`8000`"
    assert defaults["streaming_fallback"] == "`yes`"
    assert defaults["allow_open_network"] == "`no`"
    assert defaults["api_key"] == defaults["insights_models"] == defaults["core_endpoint"] == "not set"
    assert defaults["tier_limits"] == "`{}`"


def test_every_variable_in_the_document_is_read() -> None:
    known = {variable for one in SETTINGS.values() for variable in one.env_names} | FOREIGN_ENV_NAMES
    assert set(re.findall(r"ECHOIC_[A-Z_]+", TEXT)) <= known | {"ECHOIC_"}


def test_text_outside_tables_has_short_lines() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > 160 and not line.startswith("|")] == []
