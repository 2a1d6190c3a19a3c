"""docs/faults.md names all tests of faults and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_names_exactly_the_tests_of_faults() -> None:
    table = (ROOT / "docs" / "faults.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", table))
    files = (ROOT / "tests" / "integration" / "faults").glob("test_*.py")
    assert named == {
        name for file in files for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
