"""docs/settings.md is generated from the settings."""

from __future__ import annotations

import re
from pathlib import Path

from echoic.server.settings.document import render_document
from echoic.server.settings.groups import SETTINGS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_document_is_up_to_date() -> None:
    text = (DOCS / "settings.md").read_text("utf-8")
    assert text == render_document(), "run: python -m echoic.server.settings.document > docs/settings.md"


def test_the_protocol_links_to_existing_settings() -> None:
    protocol = (DOCS / "protocol.md").read_text("utf-8")
    assert "a setting)" not in protocol
    named = set(re.findall(r"\[`(\w+)`\]\(settings\.md\)", protocol))
    assert named
    assert named <= set(SETTINGS)
