"""Prints tables and writes one JSON file per part, so that runs can be compared."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("echoic", "numpy", "onnxruntime", "websockets", "uvicorn", "msgspec", "jiwer")

Cell = str | int | float | None


def render_cell(cell: Cell) -> str:
    """Return a cell as text: floats with three significant digits, None as an empty cell."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def render_verdict(good: bool) -> str:  # noqa: FBT001  # the only argument
    """Return "yes", or "NO" in capitals, so that it is not overlooked."""
    return "yes" if good else "NO"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table with the first column aligned left and the others right."""
    lines = [[*header], *([render_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    print(f"\n{title}")
    for number, line in enumerate(lines):
        cells = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join(cells).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def save_results(part: str, facts: Mapping[str, object]) -> None:
    """Write figures and a description of the machine to ``tools/benchmarks/results/<part>.json``."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": describe_machine(), **facts}, indent=1, ensure_ascii=False)
    (RESULTS / f"{part}.json").write_text(text + "\n", "utf-8")


def describe_machine() -> dict[str, object]:
    """Describe the machine: Python, processors, load, versions of packages."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load_at_the_end": round(os.getloadavg()[0], 2),
        "versions": {name: _find_version(name) for name in _PACKAGES},
    }


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
