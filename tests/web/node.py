"""Runs JavaScript tests under Node: finds Node, and puts modules and programs in one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import echoic.server

WEB = Path(echoic.server.__file__).parent / "web"
PROGRAMS = Path(__file__).parent / "javascript"
MODULES = Path(__file__).parents[1] / "integration" / "clients" / "node_modules"


def find_node() -> str:
    """Return the path of Node; skip the test if Node or its package ``ws`` is missing."""
    found = shutil.which("node")
    if found is None or not (MODULES / "ws").is_dir():
        pytest.skip("node and its ws package are needed: make test installs ws where npm is")
    return found


def build_program_folder(folder: Path) -> Path:
    """Copy the modules, the programs and their packages to a folder; return it."""
    for source in (*WEB.glob("*.js"), *PROGRAMS.glob("*.js")):
        shutil.copy(source, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(MODULES)
    return folder
