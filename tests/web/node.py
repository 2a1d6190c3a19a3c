"""Node, and the page's modules beside the programs that test them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import echoic.server

WEB = Path(echoic.server.__file__).parent / "web"
PROGRAMS = Path(__file__).parent / "javascript"
MODULES = Path(__file__).parents[1] / "integration" / "clients" / "node_modules"


def node() -> str:
    """Return the command; skip the test where there is none, or no package of ``ws``."""
    found = shutil.which("node")
    if found is None or not (MODULES / "ws").is_dir():
        pytest.skip("node and its ws package are needed: make test installs ws where npm is")
    return found


def workshop(folder: Path) -> Path:
    """Fill a folder with the modules, the programs and what they import; return it."""
    for source in (*WEB.glob("*.js"), *PROGRAMS.glob("*.js")):
        shutil.copy(source, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(MODULES)
    return folder
