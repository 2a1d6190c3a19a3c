"""Cost of quotas: processor time per message of audio, and round trips to each store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module

from echoic.evaluate.metrics import percentile
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import Charge, ChargeResult, QuotaStore, StreamLease
from echoic.quotas.stream_quota import StreamQuota
from tools.benchmarks import report

OpenQuotaStore = Callable[[], QuotaStore]

STREAMS, RATE = 50, 16_000
#: Seconds of audio in a message, and from one message of a stream to the next: ten times real time.
_MESSAGES = (0.02, 0.1)
_PACE = 10.0
_HEADER = (
    "store, tier, message",
    "CPU µs a message",
    "grant µs p50",
    "p99",
    "had to wait, %",
    "round trips per second of audio",
)
_TRIPS = ("round trips, one after another", "ms p50", "p95", "p99", "CPU µs each")


class CountingQuotaStore:
    """A store that counts charges.

    Args:
        store: The store that answers.
    """

    def __init__(self, store: QuotaStore) -> None:
        self.store = store
        self.charges = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        self.charges += 1
        return await self.store.charge_audio(charge)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    seconds = 10.0 if quick else 60.0
    rows: list[list[report.Cell]] = []
    trips: list[list[report.Cell]] = []
    with ExitStack() as stack:
        for name, make in _list_stores(stack).items():
            for tier in ("premium", "standard"):
                for message in _MESSAGES:
                    figures = asyncio.run(_measure_grants(make, tier, message, seconds))
                    rows.append([f"{name}, {tier}, {1000 * message:g} ms", *figures])
            trips.append([name, *asyncio.run(_measure_round_trips(make, 500 if quick else 5_000))])
    report.print_table(
        f"Quotas, {STREAMS} streams: what a message of audio costs beside an empty loop", _HEADER, rows
    )
    report.print_table("Charges", _TRIPS, trips)
    facts = [dict(zip(_HEADER, row, strict=True)) for row in rows]
    report.save_results(
        "quotas", {"messages": facts, "charges": [dict(zip(_TRIPS, row, strict=True)) for row in trips]}
    )


def _list_stores(stack: ExitStack) -> dict[str, OpenQuotaStore]:
    """Return the available stores; that of Redis starts a server on a Unix socket."""
    found: dict[str, OpenQuotaStore] = {"in-process": MemoryQuotaStore}
    servers = import_module("support.database_servers")  # tests/ is on the path only when benchmarks run
    if servers.find_valkey_program() is None:
        print("\nquotas: without Redis, there is no valkey-server or redis-server")
        return found
    server = stack.enter_context(servers.ValkeyServer())
    redis = import_module("echoic.quotas.redis")
    return found | {"Redis": lambda: redis.RedisQuotaStore(server.url)}


async def _measure_grants(make: OpenQuotaStore, tier: str, message: float, seconds: float) -> list[float]:
    """Return the figures of streams within their quotas, each with a user of its own."""
    store = CountingQuotaStore(make())
    desk = QuotaLedger(store)  # type: ignore[arg-type]  # it forwards all methods
    who = [(f"{tier}-{message}-{number}-{time.time_ns()}", tier) for number in range(STREAMS)]
    accounts = [await desk.open_stream(*one) for one in who]
    rounds = round(seconds / message)
    calls: list[float] = []
    empty = await _measure_cpu([], message, rounds, [])
    cpu = await _measure_cpu(accounts, message, rounds, calls) - empty
    charges = store.charges
    await desk.close()
    waited = [-call for call in calls if call < 0]
    granted = [1e6 * call for call in calls if call >= 0]
    total = STREAMS * rounds
    return [
        1e6 * cpu / total,
        percentile(granted, 50),
        percentile(granted, 99),
        100 * len(waited) / total,
        charges / (STREAMS * seconds),
    ]


async def _measure_cpu(
    accounts: Sequence[StreamQuota], message: float, rounds: int, calls: list[float]
) -> float:
    """Return the processor time of ``rounds`` of one message per stream, and record the time of each call.

    A call that had to wait is recorded with its waiting time as a negative number.
    """
    samples = round(message * RATE)
    used, due = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        for account in accounts:
            began = time.perf_counter()
            granted = account.grant_audio(samples, RATE)
            calls.append(time.perf_counter() - began)
            if granted is None:
                began = time.perf_counter()
                await account.wait_for_grant()
                account.grant_audio(samples, RATE)
                calls[-1] = began - time.perf_counter()
        due += message / _PACE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return time.process_time() - used


async def _measure_round_trips(make: OpenQuotaStore, times: int) -> list[float]:
    """Return the duration of a charge without other load, and its processor time in this process."""
    store, place = make(), StreamLease(f"one-{time.time_ns()}", "lease")
    taken = []
    used = time.process_time()
    for number in range(times):
        began = time.perf_counter()
        await store.charge_audio(Charge(place, number, number, number + 1))
        taken.append(1000 * (time.perf_counter() - began))
    cpu = time.process_time() - used
    await store.close()
    return [percentile(taken, 50), percentile(taken, 95), percentile(taken, 99), 1e6 * cpu / times]
