"""A worker whose engine hangs, or fails whatever it is given."""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import Scripted, draw
from echoic.errors import DecodeFailed
from echoic.schedule.queue import Job
from echoic.schedule.worker import Batch, Care, Worker
from echoic.session.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from echoic.engines.base import Engine
    from echoic.text.hypothesis import Hypothesis

QUICK = 0.05
HASTY = Care(seconds=QUICK)
#: Waits for no load either.
IMPATIENT = Care(seconds=QUICK, loading=QUICK)


class Broken(Scripted):
    """Fails whatever it is given."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        raise RuntimeError(len(windows))


class Ward:
    """Workers whose answers can be waited for; engines that hang are let go at the end."""

    def __init__(self) -> None:
        self.batches: SimpleQueue[Batch] = SimpleQueue()
        self.end = threading.Event()
        self.loads = 0
        self._workers: list[Worker] = []

    def hanging(self) -> Scripted:
        """Return an engine that hangs when it hears "zulu"."""
        return Scripted(hooks={"zulu": lambda: self.end.wait(60)})

    def worker(
        self, engine: Engine, load: Callable[[], Engine], care: Care = HASTY, threads: int = 1
    ) -> Worker:
        def counted() -> Engine:
            self.loads += 1
            return load()

        worker = Worker("scripted", engine, threads, self.batches.put, replace(care, load=counted))
        self._workers.append(worker)
        return worker

    def answers(self, count: int) -> dict[str, str | None]:
        """Wait for answers; what each client was told, None: that its window failed."""
        told: dict[str, str | None] = {}
        while len(told) < count:
            batch = self.batches.get(timeout=20)
            for job, outcome in zip(batch.jobs, batch.outcomes, strict=True):
                told[str(job.client)] = None if isinstance(outcome, DecodeFailed) else text(outcome)
        return told

    def close(self) -> None:
        self.end.set()
        for worker in self._workers:
            worker.stop(finish=False)
            assert worker.join(20)


@pytest.fixture
def ward() -> Iterator[Ward]:
    ward = Ward()
    yield ward
    ward.close()


def job(client: str, word: str, *, final: bool = True) -> Job:
    audio = draw([word])
    return Job(client, 1, Window(audio, 16_000, 0.0, 0, audio.size, 0, last=True), final)


def text(outcome: Hypothesis) -> str:
    return "".join(token.text for token in outcome.committed).strip()


def test_a_window_that_hangs_fails_and_those_beside_it_do_not(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), ward.hanging)
    for client, word in (("ann", "one"), ("bob", "zulu"), ("cid", "two")):
        worker.submit(job(client, word))  # all of one batch
    worker.start()
    assert ward.answers(3) == {"ann": "one", "bob": None, "cid": "two"}
    assert ward.loads == 2
    worker.submit(job("ann", "three"))
    assert ward.answers(1) == {"ann": "three"}


def test_one_that_hung_once_loses_nothing(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), Scripted)
    worker.submit(job("bob", "zulu"))
    worker.start()
    assert ward.answers(1) == {"bob": "zulu"}
    assert worker.load().failures == 0


def test_a_partial_that_hangs_is_not_tried_again(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), Scripted)
    worker.submit(job("bob", "zulu", final=False))
    worker.start()
    assert ward.answers(1) == {"bob": None}


def test_what_hangs_is_not_tried_again_by_the_session(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), ward.hanging)
    worker.submit(job("bob", "zulu"))
    worker.start()
    (outcome,) = ward.batches.get(timeout=20).outcomes
    assert isinstance(outcome, DecodeFailed)
    assert outcome.is_last


def test_a_model_that_hangs_again_and_again_is_given_up_and_lives_when_it_comes_back(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), ward.hanging)
    worker.start()
    for client in ("ann", "bob", "cid"):  # the first is tried twice
        worker.submit(job(client, "zulu"))
        assert ward.answers(1) == {client: None}
    worker.submit(job("dee", "one"))
    assert ward.answers(1) == {"dee": None}  # at once
    assert worker.load().given_up
    assert ward.loads == 3
    ward.end.set()
    for _ in range(10_000):  # until the first of the threads is back
        worker.submit(job("ann", "one"))
        if ward.answers(1) == {"ann": "one"}:
            assert not worker.load().given_up
            return
    pytest.fail("it stayed given up")


def test_an_engine_that_fails_window_after_window_is_loaded_anew_and_nothing_is_lost(ward: Ward) -> None:
    worker = ward.worker(Broken(), Scripted)
    worker.submit(job("ann", "one"))
    worker.submit(job("bob", "two"))
    worker.start()
    assert ward.answers(2) == {"ann": "one", "bob": "two"}
    assert ward.loads == 1


def test_windows_that_are_bad_themselves_do_not_have_it_loaded_again_and_again(ward: Ward) -> None:
    worker = ward.worker(Broken(), Broken)
    for number in range(6):
        worker.submit(job(f"client {number}", "one"))
    worker.start()
    assert set(ward.answers(6).values()) == {None}
    worker.submit(job("ann", "one"))
    worker.submit(job("bob", "one"))
    assert ward.answers(2) == {"ann": None, "bob": None}
    assert ward.loads == 1


def test_where_it_cannot_be_loaded_the_old_one_goes_on(ward: Ward) -> None:
    def missing() -> Engine:
        raise OSError

    worker = ward.worker(ward.hanging(), missing)
    worker.submit(job("bob", "zulu"))
    worker.submit(job("ann", "one"))
    worker.start()
    assert ward.answers(2) == {"bob": None, "ann": "one"}


def test_a_load_that_hangs_is_waited_for_no_more_and_the_old_engine_goes_on(ward: Ward) -> None:
    def load() -> Engine:
        ward.end.wait(60)
        return Scripted()

    worker = ward.worker(ward.hanging(), load, IMPATIENT)
    worker.start()
    worker.submit(job("ann", "zulu"))
    for client in "bcd":
        worker.submit(job(client, "one"))
    assert ward.answers(4) == {"ann": None, "b": "one", "c": "one", "d": "one"}


def test_what_fails_while_a_load_hangs_is_answered(ward: Ward) -> None:
    def load() -> Engine:
        ward.end.wait(60)
        return Scripted()

    worker = ward.worker(Broken(), load, IMPATIENT)
    worker.submit(job("ann", "one"))
    worker.submit(job("bob", "two"))
    worker.start()
    assert ward.answers(2) == {"ann": None, "bob": None}


def test_a_long_load_does_not_count_as_part_of_the_decode(ward: Ward) -> None:
    def load() -> Engine:
        ward.end.wait(0.3)
        return Scripted()

    worker = ward.worker(Broken(), load, Care(seconds=0.2))
    worker.submit(job("ann", "one"))
    worker.submit(job("bob", "two"))
    worker.start()
    assert ward.answers(2) == {"ann": "one", "bob": "two"}


def test_a_model_that_was_given_up_is_tried_again_after_a_rest(ward: Ward) -> None:
    worker = ward.worker(ward.hanging(), ward.hanging, Care(seconds=QUICK, rest=1.0))
    worker.start()
    for client in ("ann", "bob", "cid"):
        worker.submit(job(client, "zulu"))
        assert ward.answers(1) == {client: None}
    assert worker.load().given_up
    for _ in range(100_000):
        worker.submit(job("ann", "one"))
        if ward.answers(1) == {"ann": "one"}:
            return
    pytest.fail("it stayed given up")


def test_threads_that_are_well_go_on_when_others_are_replaced_no_more(ward: Ward) -> None:
    engine = Scripted(hooks={"zulu": lambda: ward.end.wait(60)}, threads=2)
    worker = ward.worker(engine, ward.hanging, threads=2)
    worker.start()
    for client in ("ann", "bob", "cid"):
        worker.submit(job(client, "zulu"))
        assert ward.answers(1) == {client: None}
    worker.submit(job("dee", "one"))
    assert ward.answers(1) == {"dee": "one"}
    assert not worker.load().given_up
