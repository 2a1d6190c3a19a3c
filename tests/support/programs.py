"""Runs example programs in processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]


def run_program(
    program: Path, *arguments: str, python_path: Sequence[Path] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its environment has only these variables and ``PYTHONPATH``."""
    folders = ":".join(str(folder) for folder in (*python_path, ROOT / "src"))
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
        env={"PYTHONPATH": folders, **environment},
    )
