"""Time to refuse a wrong key, by kind of error: it must not reveal the kind (timing attack)."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from echoic.auth.backends import KeyStoreBackend
from echoic.auth.key_database import KeyDatabase
from echoic.auth.keys import generate_key
from tools.benchmarks import report

_OTHERS = 200


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    times = asyncio.run(_measure_wrong_keys(500 if quick else 4000))
    base = statistics.median(times["unknown id"])
    rows = [
        (kind, 1000 * min(all_), 1000 * statistics.median(all_), statistics.median(all_) / base)
        for kind, all_ in times.items()
    ]
    header = ("wrong key", "least, ms", "median, ms", "of unknown id")
    report.print_table("Wrong keys: time to look one up", header, rows)
    report.save_results("keys", {"rows": [dict(zip(header, row, strict=True)) for row in rows]})


async def _measure_wrong_keys(times: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        store = KeyDatabase(str(Path(folder) / "keys.db"))
        await store.open()
        for number in range(_OTHERS):
            await store.create_key(f"user {number}")
        known, _ = await store.create_key("anna")
        kinds = {
            "no form of a key": "x" * len(known.text),
            "unknown id": generate_key().text,
            "known id": known.text[:-43] + "x" * 43,
        }
        try:
            return await _time_lookups(KeyStoreBackend(store), kinds, times)
        finally:
            await store.close()


async def _time_lookups(way: KeyStoreBackend, kinds: Mapping[str, str], times: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(times):
        for kind, text in kinds.items():
            began = time.perf_counter()
            await way.identify_user(text)
            found[kind].append(time.perf_counter() - began)
    return found
