"""Each module has a file of unit tests at the same path, and each of these files has a module."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def list_modules() -> set[str]:
    """Return the modules of the package, by their paths without a suffix."""
    folder = ROOT / "src" / "echoic"
    files = [file for file in folder.rglob("*.py") if file.stem not in {"__init__", "__main__"}]
    return {file.relative_to(folder).with_suffix("").as_posix() for file in files}


def list_tested_modules() -> set[str]:
    """Return the paths of the modules that the files of tests/unit are named for."""
    folder = ROOT / "tests" / "unit"
    tests = [file.relative_to(folder) for file in folder.rglob("test_*.py")]
    return {(file.parent / file.stem.removeprefix("test_")).as_posix() for file in tests}


def test_every_module_has_a_file_of_unit_tests() -> None:
    assert sorted(list_modules() - list_tested_modules()) == []


def test_every_file_of_unit_tests_is_named_for_a_module() -> None:
    assert sorted(list_tested_modules() - list_modules()) == []


def test_model_libraries_are_forbidden_in_all_other_packages() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    name = "Only engines and diarization import model libraries"
    (contract,) = (one for one in settings["contracts"] if one["name"] == name)
    top_level = {f"echoic.{module.partition('/')[0]}" for module in list_modules()}
    assert set(contract["source_modules"]) == top_level - {"echoic.engines", "echoic.diarization"}
