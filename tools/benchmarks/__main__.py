"""``python -m tools.benchmarks [PART …] [--quick]``: run parts of the benchmarks, all if none is named."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from tools.benchmarks.report import ROOT

PARTS = (
    "speech",
    "parakeet",
    "variants",
    "live",
    "overhead",
    "beside",
    "load",
    "memory",
    "diarization",
    "labels",
    "disconnects",
    "fuzz",
    "flood",
    "keys",
    "quotas",
    "autobahn",
    "hotwords",
    "first_words",
)
#: Those that want models of the true shapes (``tools.benchmarks.shapes``).
SHAPED = ("encoders", "greedy", "capacity")


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join((*PARTS, *SHAPED)))
    parser.add_argument("--quick", action="store_true", help="two minutes instead of a quarter of an hour")
    parser.add_argument(
        "--shapes", metavar="FOLDER", help="models of the true shapes, for " + ", ".join(SHAPED)
    )
    parser.add_argument("--streams", type=int, help="of the part load; 200")
    parser.add_argument("--minutes", type=float, help="of the part load; 1, with --quick a quarter")
    given = parser.parse_args()
    known = (*PARTS, *SHAPED)
    if unknown := set(given.parts) - set(known):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for variable, value in (
        ("ECHOIC_SHAPES", given.shapes),
        ("ECHOIC_BENCH_STREAMS", given.streams),
        ("ECHOIC_BENCH_MINUTES", given.minutes),
    ):
        if value:
            os.environ[variable] = str(value)
    for folder in ("src", "tests"):  # tests/support drives sessions and makes garbage
        sys.path.insert(0, str(ROOT / folder))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for part in given.parts or known:
        began = time.perf_counter()
        importlib.import_module(f"tools.benchmarks.{part}").measure(quick=given.quick)
        print(f"  [{part}: {time.perf_counter() - began:.0f} s]")


if __name__ == "__main__":
    main()
