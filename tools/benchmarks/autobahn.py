"""Runs the fuzzing client of the Autobahn test suite against the WebSocket layer.

``ECHOIC_WSTEST`` names ``wstest``, which needs Python 2.7 (``pip install autobahntestsuite`` there). The
suite needs an echo, which the server under test has beside the real routes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from tools.benchmarks import report
from tools.benchmarks.process import BenchmarkServer

_AGENT = "echoic"
_BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")
_CATEGORIES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits",
    "10": "auto-fragmentation",
    "12": "compression",
    "13": "compression, its parameters",
}
#: Compression is not offered, so its two hundred cases are left out.
_LEFT_OUT = ["12.*", "13.*"]


def measure(*, quick: bool) -> None:
    """Run the cases, print and save their results; quick: without the cases on limits."""
    program = os.environ.get("ECHOIC_WSTEST")
    if not program:
        print("\nautobahn: skipped, ECHOIC_WSTEST names no wstest")
        return
    with BenchmarkServer() as server, tempfile.TemporaryDirectory() as folder:
        found = _run_client(program, server, Path(folder), ["9.*"] if quick else [])
        holds = server.read_state()
    counts: dict[str, Counter[str]] = {}
    for case, (behaviour, closing) in found.items():
        category = counts.setdefault(case.partition(".")[0], Counter())
        category["FAILED" if closing not in _BEHAVIOURS[:3] else behaviour] += 1
    rows: list[list[report.Cell]] = [
        [f"{number} {_CATEGORIES.get(number, '')}", *(count[one] for one in _BEHAVIOURS)]
        for number, count in sorted(counts.items(), key=lambda pair: int(pair[0]))
    ]
    report.print_table(f"Autobahn test suite, {len(found)} cases", ("category", *_BEHAVIOURS), rows)
    others = [f"{case} {both[0]}" for case, both in found.items() if both[0] in ("NON-STRICT", "FAILED")]
    print(f"  Other than OK: {', '.join(others)}. The server holds {holds['tasks']} tasks afterwards.")
    report.save_results(
        "autobahn", {"cases": {case: list(both) for case, both in found.items()}, "holds": holds}
    )


def _run_client(
    program: str, server: BenchmarkServer, folder: Path, left_out: list[str]
) -> dict[str, tuple[str, str]]:
    """Return the behaviour of each case, and its behaviour at the close."""
    wanted = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": _AGENT, "url": server.echo_url}],
        "cases": ["*"],
        "exclude-cases": [*_LEFT_OUT, *left_out],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(wanted), "utf-8")
    subprocess.run(
        [program, "-m", "fuzzingclient", "-s", "spec.json"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=900,
    )
    index = json.loads((folder / "reports" / "index.json").read_text("utf-8"))[_AGENT]
    return {case: (one["behavior"], one["behaviorClose"]) for case, one in index.items()}
