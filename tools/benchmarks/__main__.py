"""``python -m tools.benchmarks [PART …] [--quick]``: runs parts of the benchmarks, by default all."""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable

from tools.benchmarks.report import ROOT

#: Parts that are scenarios of ``load_scenarios``; the others are modules with a function ``measure``.
SCENARIO_PARTS = ("live", "beside", "load", "flood", "capacity")
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
    "gpu",
)
#: Parts that need models of the true shapes (``tools.benchmarks.shapes``).
SHAPED = ("encoders", "greedy", "capacity")


def main() -> None:
    """Run the parts that the command line names."""
    known = (*PARTS, *SHAPED)
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="two minutes instead of a quarter of an hour")
    parser.add_argument(
        "--shapes",
        metavar="FOLDER",
        help="models of the true shapes, for " + ", ".join((*SHAPED, "live", "gpu")),
    )
    parser.add_argument("--streams", type=int, help="streams of the part load (200)")
    parser.add_argument("--minutes", type=float, help="minutes of the part load (1, with --quick a quarter)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(known):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for variable, value in (
        ("ECHOIC_SHAPES", options.shapes),
        ("ECHOIC_BENCH_STREAMS", options.streams),
        ("ECHOIC_BENCH_MINUTES", options.minutes),
    ):
        if value:
            os.environ[variable] = str(value)
    for folder in ("src", "tests"):  # tests/support drives sessions and generates garbage
        sys.path.insert(0, str(ROOT / folder))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for part in options.parts or known:
        began = time.perf_counter()
        _find_measurement(part)(quick=options.quick)
        print(f"  [{part}: {time.perf_counter() - began:.0f} s]")


def _find_measurement(part: str) -> Callable[..., None]:
    """Import the module of a part and return its measurement."""
    if part in SCENARIO_PARTS:
        scenarios: dict[str, Callable[..., None]] = importlib.import_module(
            "tools.benchmarks.load_scenarios"
        ).SCENARIOS
        return scenarios[part]
    measure: Callable[..., None] = importlib.import_module(f"tools.benchmarks.{part}").measure
    return measure


if __name__ == "__main__":
    main()
