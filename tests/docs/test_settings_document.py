"""docs/settings.md lists every setting of the server, with the names and defaults of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echoic.server.settings.groups import ENV_NAMES, ENV_PREFIX, FOREIGN_ENV_NAMES, Settings
from echoic.server.settings.sections import SettingsSection

DOCUMENT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, str, str]]:
    """Return each setting's section, environment variables and default as the document has them."""
    found: dict[str, tuple[str, str, str]] = {}
    for part in DOCUMENT.split("\n## [")[1:]:
        section, _, body = part.partition("]")
        found |= {name: (section, env, default) for name, env, default in ROW.findall(body)}
    return found


def section_of(name: str) -> str:
    return next(
        mark.name for mark in Settings.model_fields[name].metadata if isinstance(mark, SettingsSection)
    )


def written(value: object) -> str:
    if value is None:
        return "not set"
    return f"`{'yes' if value else 'no'}`" if isinstance(value, bool) else f"`{value}`"


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(rows()) == set(Settings.model_fields)
    assert len(ROW.findall(DOCUMENT)) == len(rows())


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_row_says_what_the_code_says(name: str) -> None:
    section, env, default = rows()[name]
    assert section == section_of(name)
    assert default == written(Settings.model_fields[name].default)
    own = [variable for variable, setting in ENV_NAMES.items() if setting == name]
    assert re.findall(r"`(\w+)`", env) == [*own, ENV_PREFIX + name.upper()]


def test_every_variable_that_is_named_is_read() -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_ENV_NAMES
    assert set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", DOCUMENT)) <= known


def test_the_protocol_links_to_settings_that_there_are() -> None:
    protocol = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    assert "a setting)" not in protocol
    named = set(re.findall(r"\[`(\w+)`\]\(settings\.md\)", protocol))
    assert named
    assert named <= set(Settings.model_fields)
