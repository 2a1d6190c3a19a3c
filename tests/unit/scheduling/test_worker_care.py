"""A worker whose engine hangs, or fails whatever it is given."""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Window
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.worker import BatchResult, HealthPolicy, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from echoic.interfaces.engine import Engine, Hypothesis

QUICK = 0.05
HASTY = HealthPolicy(decode_timeout=QUICK)
#: Waits for no load either.
IMPATIENT = HealthPolicy(decode_timeout=QUICK, load_timeout=QUICK)


class BrokenEngine(ScriptedEngine):
    """Fails whatever it is given."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        raise RuntimeError(len(windows))


class HangingWorkers:
    """Workers whose answers can be waited for; engines that hang are let go at the end."""

    def __init__(self) -> None:
        self.batches: SimpleQueue[BatchResult] = SimpleQueue()
        self.released = threading.Event()
        self.load_count = 0
        self._workers: list[Worker] = []

    def build_hanging_engine(self) -> ScriptedEngine:
        """Return an engine that hangs when it hears "zulu"."""
        return ScriptedEngine(word_hooks={"zulu": lambda: self.released.wait(60)})

    def create_worker(
        self, engine: Engine, load: Callable[[], Engine], care: HealthPolicy = HASTY, threads: int = 1
    ) -> Worker:
        def counted() -> Engine:
            self.load_count += 1
            return load()

        worker = Worker("scripted", engine, threads, self.batches.put, replace(care, load=counted))
        self._workers.append(worker)
        return worker

    def collect_answers(self, count: int) -> dict[str, str | None]:
        """Wait for answers; what each client was told, None: that its window failed."""
        told: dict[str, str | None] = {}
        while len(told) < count:
            batch = self.batches.get(timeout=20)
            for job, outcome in zip(batch.jobs, batch.outcomes, strict=True):
                told[str(job.client)] = None if isinstance(outcome, DecodeFailed) else join_tokens(outcome)
        return told

    def close(self) -> None:
        self.released.set()
        for worker in self._workers:
            worker.stop(finish=False)
            assert worker.join(20)


@pytest.fixture
def ward() -> Iterator[HangingWorkers]:
    ward = HangingWorkers()
    yield ward
    ward.close()


def build_job(client: str, word: str, *, final: bool = True) -> DecodeJob:
    audio = draw_words([word])
    return DecodeJob(client, 1, Window(audio, 16_000, 0.0, 0, audio.size, 0, is_last=True), final)


def join_tokens(outcome: Hypothesis) -> str:
    return "".join(token.text for token in outcome.committed).strip()


def test_a_window_that_hangs_fails_and_those_beside_it_do_not(ward: HangingWorkers) -> None:
    worker = ward.create_worker(ward.build_hanging_engine(), ward.build_hanging_engine)
    for client, word in (("ann", "one"), ("bob", "zulu"), ("cid", "two")):
        worker.submit_job(build_job(client, word))  # all of one batch
    worker.start()
    assert ward.collect_answers(3) == {"ann": "one", "bob": None, "cid": "two"}
    assert ward.load_count == 2
    worker.submit_job(build_job("ann", "three"))
    assert ward.collect_answers(1) == {"ann": "three"}


def test_one_that_hung_once_loses_nothing(ward: HangingWorkers) -> None:
    worker = ward.create_worker(ward.build_hanging_engine(), ScriptedEngine)
    worker.submit_job(build_job("bob", "zulu"))
    worker.start()
    assert ward.collect_answers(1) == {"bob": "zulu"}
    assert worker.collect_stats().failures == 0


def test_a_partial_that_hangs_is_not_tried_again(ward: HangingWorkers) -> None:
    worker = ward.create_worker(ward.build_hanging_engine(), ScriptedEngine)
    worker.submit_job(build_job("bob", "zulu", final=False))
    worker.start()
    assert ward.collect_answers(1) == {"bob": None}


def test_what_hangs_is_not_tried_again_by_the_session(ward: HangingWorkers) -> None:
    worker = ward.create_worker(ward.build_hanging_engine(), ward.build_hanging_engine)
    worker.submit_job(build_job("bob", "zulu"))
    worker.start()
    (outcome,) = ward.batches.get(timeout=20).outcomes
    assert isinstance(outcome, DecodeFailed)
    assert outcome.is_last


def test_a_model_that_hangs_again_and_again_is_given_up_and_lives_when_it_comes_back(
    ward: HangingWorkers,
) -> None:
    worker = ward.create_worker(ward.build_hanging_engine(), ward.build_hanging_engine)
    worker.start()
    for client in ("ann", "bob", "cid"):  # the first is tried twice
        worker.submit_job(build_job(client, "zulu"))
        assert ward.collect_answers(1) == {client: None}
    worker.submit_job(build_job("dee", "one"))
    assert ward.collect_answers(1) == {"dee": None}  # at once
    assert worker.collect_stats().is_hung
    assert ward.load_count == 3
    ward.released.set()
    for _ in range(10_000):  # until the first of the threads is back
        worker.submit_job(build_job("ann", "one"))
        if ward.collect_answers(1) == {"ann": "one"}:
            assert not worker.collect_stats().is_hung
            return
    pytest.fail("it stayed given up")


def test_an_engine_that_fails_window_after_window_is_loaded_anew_and_nothing_is_lost(
    ward: HangingWorkers,
) -> None:
    worker = ward.create_worker(BrokenEngine(), ScriptedEngine)
    worker.submit_job(build_job("ann", "one"))
    worker.submit_job(build_job("bob", "two"))
    worker.start()
    assert ward.collect_answers(2) == {"ann": "one", "bob": "two"}
    assert ward.load_count == 1


def test_windows_that_are_bad_themselves_do_not_have_it_loaded_again_and_again(ward: HangingWorkers) -> None:
    worker = ward.create_worker(BrokenEngine(), BrokenEngine)
    for number in range(6):
        worker.submit_job(build_job(f"client {number}", "one"))
    worker.start()
    assert set(ward.collect_answers(6).values()) == {None}
    worker.submit_job(build_job("ann", "one"))
    worker.submit_job(build_job("bob", "one"))
    assert ward.collect_answers(2) == {"ann": None, "bob": None}
    assert ward.load_count == 1


def test_where_it_cannot_be_loaded_the_old_one_goes_on(ward: HangingWorkers) -> None:
    def missing() -> Engine:
        raise OSError

    worker = ward.create_worker(ward.build_hanging_engine(), missing)
    worker.submit_job(build_job("bob", "zulu"))
    worker.submit_job(build_job("ann", "one"))
    worker.start()
    assert ward.collect_answers(2) == {"bob": None, "ann": "one"}


def test_a_load_that_hangs_is_waited_for_no_more_and_the_old_engine_goes_on(ward: HangingWorkers) -> None:
    def load() -> Engine:
        ward.released.wait(60)
        return ScriptedEngine()

    worker = ward.create_worker(ward.build_hanging_engine(), load, IMPATIENT)
    worker.start()
    worker.submit_job(build_job("ann", "zulu"))
    for client in "bcd":
        worker.submit_job(build_job(client, "one"))
    assert ward.collect_answers(4) == {"ann": None, "b": "one", "c": "one", "d": "one"}


def test_what_fails_while_a_load_hangs_is_answered(ward: HangingWorkers) -> None:
    def load() -> Engine:
        ward.released.wait(60)
        return ScriptedEngine()

    worker = ward.create_worker(BrokenEngine(), load, IMPATIENT)
    worker.submit_job(build_job("ann", "one"))
    worker.submit_job(build_job("bob", "two"))
    worker.start()
    assert ward.collect_answers(2) == {"ann": None, "bob": None}


def test_a_long_load_does_not_count_as_part_of_the_decode(ward: HangingWorkers) -> None:
    def load() -> Engine:
        ward.released.wait(0.3)
        return ScriptedEngine()

    worker = ward.create_worker(BrokenEngine(), load, HealthPolicy(decode_timeout=0.2))
    worker.submit_job(build_job("ann", "one"))
    worker.submit_job(build_job("bob", "two"))
    worker.start()
    assert ward.collect_answers(2) == {"ann": "one", "bob": "two"}


def test_a_model_that_was_given_up_is_tried_again_after_a_rest(ward: HangingWorkers) -> None:
    worker = ward.create_worker(
        ward.build_hanging_engine(),
        ward.build_hanging_engine,
        HealthPolicy(decode_timeout=QUICK, retry_seconds=1.0),
    )
    worker.start()
    for client in ("ann", "bob", "cid"):
        worker.submit_job(build_job(client, "zulu"))
        assert ward.collect_answers(1) == {client: None}
    assert worker.collect_stats().is_hung
    for _ in range(100_000):
        worker.submit_job(build_job("ann", "one"))
        if ward.collect_answers(1) == {"ann": "one"}:
            return
    pytest.fail("it stayed given up")


def test_threads_that_are_well_go_on_when_others_are_replaced_no_more(ward: HangingWorkers) -> None:
    engine = ScriptedEngine(word_hooks={"zulu": lambda: ward.released.wait(60)}, max_concurrency=2)
    worker = ward.create_worker(engine, ward.build_hanging_engine, threads=2)
    worker.start()
    for client in ("ann", "bob", "cid"):
        worker.submit_job(build_job(client, "zulu"))
        assert ward.collect_answers(1) == {client: None}
    worker.submit_job(build_job("dee", "one"))
    assert ward.collect_answers(1) == {"dee": "one"}
    assert not worker.collect_stats().is_hung
