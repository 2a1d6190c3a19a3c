from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from echoic.scheduling.threads import (
    BatchThread,
    Failure,
    attempt_batch,
    attempt_call,
    call_soon_threadsafe,
    call_with_timeout,
    run_in_daemon_thread,
    trim_heap,
)

STATUS = Path("/proc/self/statm")


def double_evens(items: Sequence[int]) -> list[int]:
    if any(item % 2 for item in items):
        raise ValueError(items)
    return [2 * item for item in items]


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1), KeyboardInterrupt()])
def test_any_exception_becomes_a_failure(error: BaseException) -> None:
    def call() -> None:
        raise error

    assert attempt_call(call) == Failure(error)
    assert attempt_call(lambda: 3) == 3


def test_a_bad_item_of_a_batch_fails_alone() -> None:
    assert attempt_batch(double_evens, [2, 4]) == [4, 8]
    first, second, third = attempt_batch(double_evens, [2, 3, 4])
    assert (first, third) == (4, 8)
    assert isinstance(second, Failure)


def test_a_wrong_number_of_results_is_a_failure() -> None:
    results = attempt_batch(lambda items: [*items, 0], [1, 2])
    assert all(isinstance(result, Failure) and isinstance(result.error, ValueError) for result in results)


def test_a_call_with_a_timeout_returns_its_result_or_a_failure() -> None:
    released = threading.Event()
    assert call_with_timeout(lambda: 3, 30, "quick") == 3
    hung = call_with_timeout(lambda: released.wait(30), 0.01, "slow")
    released.set()
    assert isinstance(hung, Failure)
    assert isinstance(hung.error, TimeoutError)


async def test_a_daemon_thread_returns_its_result_to_the_loop() -> None:
    name = await run_in_daemon_thread(lambda: threading.current_thread().name, "named")
    assert name == "named"


def test_a_callback_for_a_closed_loop_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    call_soon_threadsafe(loop, lambda: pytest.fail("must not be called"))


class Doubler:
    """Doubles numbers in a ``BatchThread``; None ends it."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.queue: list[int | None] = []
        self.results: SimpleQueue[tuple[int, int]] = SimpleQueue()
        self.released = threading.Event()
        self.started = threading.Event()

    def create_thread(self) -> BatchThread[int, int]:
        return BatchThread("double", self.condition, self.take, self.run, self.deliver)

    def put(self, item: int | None) -> None:
        with self.condition:
            self.queue.append(item)
            self.condition.notify()

    def take(self) -> int | None:
        self.condition.wait_for(lambda: self.queue)
        return self.queue.pop(0)

    def run(self, batch: int) -> int:
        if batch < 0:
            self.started.set()
            self.released.wait(30)
        return 2 * batch

    def deliver(self, batch: int, result: int) -> None:
        self.results.put((batch, result))


def test_a_batch_thread_delivers_results_in_order() -> None:
    doubler = Doubler()
    thread = doubler.create_thread()
    thread.start()
    for item in (1, 2, None):
        doubler.put(item)
    thread.join(30)
    assert [doubler.results.get(timeout=30) for _ in range(2)] == [(1, 2), (2, 4)]
    assert not thread.is_alive()
    assert thread.measure_runtime() == 0.0


def test_an_abandoned_thread_delivers_nothing() -> None:
    doubler = Doubler()
    hung, other = doubler.create_thread(), doubler.create_thread()
    hung.start()
    doubler.put(-1)
    doubler.started.wait(30)
    with doubler.condition:
        assert hung.measure_runtime() > 0
        assert hung.abandon() == -1
        assert hung.measure_runtime() == 0
    other.start()
    doubler.put(5)
    assert doubler.results.get(timeout=30) == (5, 10)
    doubler.released.set()
    doubler.put(None)
    for thread in (hung, other):
        thread.join(30)
        assert not thread.is_alive()
    assert doubler.results.empty()


def test_a_batch_thread_has_a_context_of_its_own() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: SimpleQueue[str] = SimpleQueue()
    condition = threading.Condition()
    batches: list[int | None] = [1, None]
    variable.set("client")
    thread: BatchThread[int, None] = BatchThread(
        "context", condition, lambda: batches.pop(0), lambda _: seen.put(variable.get()), lambda *_: None
    )
    thread.start()
    assert seen.get(timeout=30) == "none"
    thread.join(30)


def test_a_thread_that_never_started_can_be_joined() -> None:
    Doubler().create_thread().join(0)


@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
def test_freed_memory_in_small_blocks_is_returned_to_the_system() -> None:
    blocks = [np.ones(8_000) for _ in range(2_000)]  # 64 kB: smaller than what malloc maps separately
    kept = blocks[::200]
    before = read_resident_pages()
    del blocks
    trim_heap()
    assert read_resident_pages() < before - 5_000
    assert len(kept) == 10


def read_resident_pages() -> int:
    return int(STATUS.read_text().split()[1])
