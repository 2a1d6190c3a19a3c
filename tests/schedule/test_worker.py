from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.scripted import Scripted, draw
from echoic.errors import DecodeFailed
from echoic.schedule.queue import Job
from echoic.schedule.worker import Batch, Worker, decode_all
from echoic.session.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from echoic.engines.base import Engine
    from echoic.text.hypothesis import Hypothesis


class Short(Scripted):
    """Forgets the last window of every call that has more than ``enough``."""

    def __init__(self, enough: int) -> None:
        super().__init__()
        self._enough = enough

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        return super().decode(windows)[: None if len(windows) <= self._enough else -1]


def job(*words: str, key: int = 1, client: str = "ann", final: bool = True) -> Job:
    audio = draw(words)
    return Job(client, key, Window(audio, 16_000, 0.0, 0, audio.size, 0, last=True), final)


def raising(error: BaseException) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook


def text(outcome: Hypothesis | DecodeFailed) -> str:
    assert not isinstance(outcome, DecodeFailed)
    return "".join(token.text for token in outcome.committed).strip()


class Bench:
    """Workers whose batches can be waited for, and that are closed at the end."""

    def __init__(self) -> None:
        self.batches: SimpleQueue[Batch] = SimpleQueue()
        self._workers: list[Worker] = []

    def worker(self, engine: Engine, threads: int = 1, name: str = "scripted") -> Worker:
        worker = Worker(name, engine, threads, self.batches.put)
        self._workers.append(worker)
        return worker

    def next(self) -> Batch:
        return self.batches.get(timeout=30)

    def close(self) -> None:
        for worker in self._workers:
            close(worker)


def close(worker: Worker, patience: float = 30, *, finish: bool = False) -> bool:
    worker.stop(finish=finish)
    return worker.join(patience)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_what_has_gathered_is_decoded_together_up_to_the_engines_lanes(bench: Bench) -> None:
    worker = bench.worker(Scripted(lanes=4))
    for key in range(6):
        worker.submit(job("one", key=key))
    worker.start()
    assert [len(bench.next().jobs) for _ in range(2)] == [4, 2]


def test_a_single_window_does_not_wait_for_company(bench: Bench) -> None:
    worker = bench.worker(Scripted(lanes=8))
    worker.start()
    worker.submit(job("two"))
    assert text(bench.next().outcomes[0]) == "two"


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_window_that_raises_fails_alone_and_its_cause_is_chained(
    bench: Bench, error: BaseException
) -> None:
    worker = bench.worker(Scripted(hooks={"two": raising(error)}))
    for key, word in enumerate(["one", "two", "three"]):
        worker.submit(job(word, key=key))
    worker.start()
    first, failure, third = bench.next().outcomes
    assert (text(first), text(third)) == ("one", "three")
    assert isinstance(failure, DecodeFailed)
    assert failure.__cause__ is error
    assert "secret" not in failure.message


@pytest.mark.parametrize("error", [RuntimeError(), SystemExit(1)])
def test_the_thread_outlives_whatever_the_engine_raises(bench: Bench, error: BaseException) -> None:
    worker = bench.worker(Scripted(hooks={"two": raising(error)}))
    worker.start()
    worker.submit(job("two", key=1))
    assert isinstance(bench.next().outcomes[0], DecodeFailed)
    worker.submit(job("one", key=2))
    assert text(bench.next().outcomes[0]) == "one"


def test_too_few_hypotheses_for_a_batch_are_asked_for_again_one_by_one() -> None:
    outcomes = decode_all(Short(enough=1), [job("one", key=1), job("two", key=2)])
    assert [text(outcome) for outcome in outcomes] == ["one", "two"]


def test_no_hypothesis_for_a_window_is_a_failure() -> None:
    [outcome] = decode_all(Short(enough=0), [job("one")])
    assert isinstance(outcome, DecodeFailed)
    assert isinstance(outcome.__cause__, ValueError)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "boom"]), min_size=1, max_size=8))
def test_any_mix_of_good_and_bad_windows_gets_its_own_outcomes(words: list[str]) -> None:
    engine = Scripted(vocabulary=["one", "two", "boom"], hooks={"boom": raising(OSError())})
    audio = [draw([word], vocabulary=["one", "two", "boom"]) for word in words]
    jobs = [Job("ann", k, Window(a, 16_000, 0.0, 0, a.size, 0), final=True) for k, a in enumerate(audio)]
    outcomes = decode_all(engine, jobs)
    assert [isinstance(outcome, DecodeFailed) for outcome in outcomes] == [word == "boom" for word in words]
    assert [text(o) for o in outcomes if not isinstance(o, DecodeFailed)] == [w for w in words if w != "boom"]


def test_a_foreign_errors_text_is_logged_only_for_debugging(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    worker = bench.worker(Scripted(hooks={"two": raising(RuntimeError("what was heard"))}))
    worker.start()
    worker.submit(job("two"))
    bench.next()
    assert "decode_failed model=scripted error=RuntimeError" in caplog.text
    assert "what was heard" not in caplog.text


@pytest.mark.parametrize(("allowed", "configured", "threads"), [(1, 4, 1), (4, 2, 2), (2, 0, 1)])
def test_it_uses_as_many_threads_as_engine_and_configuration_allow(
    bench: Bench, allowed: int, configured: int, threads: int
) -> None:
    meeting = threading.Barrier(threads + 1)
    engine = Scripted(hooks={"one": lambda: meeting.wait(timeout=30)}, lanes=1, threads=allowed)
    worker = bench.worker(engine, configured, "counted")
    for key in range(threads):
        worker.submit(job("one", key=key))
    worker.submit(job("two", key=99))
    worker.start()
    meeting.wait(timeout=30)  # only passes when so many decode at the same time
    assert sum(len(bench.next().jobs) for _ in range(threads + 1)) == threads + 1
    names = {thread.name for thread in threading.enumerate()}
    assert "echoic-counted-0" in names
    assert f"echoic-counted-{threads}" not in names


def test_what_is_dropped_or_left_before_it_began_is_not_decoded(bench: Bench) -> None:
    worker = bench.worker(Scripted())
    for key, client in enumerate(["ann", "ann", "bob", "cyd"]):
        worker.submit(job("one", key=key, client=client))
    worker.drop("ann", [0, 7])
    worker.leave("bob")
    worker.start()
    assert [(one.client, one.key) for one in bench.next().jobs] == [("ann", 1), ("cyd", 3)]


def test_finishing_decodes_what_waits(bench: Bench) -> None:
    worker = bench.worker(Scripted(lanes=1))
    for key in range(5):
        worker.submit(job("one", key=key))
    worker.start()
    assert close(worker, finish=True)
    assert bench.batches.qsize() == 5


def test_abandoning_delivers_only_what_is_being_decoded(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(30)

    worker = bench.worker(Scripted(lanes=1, hooks={"one": hold}))
    worker.start()
    worker.submit(job("one", key=1))
    begun.wait(30)
    worker.submit(job("two", key=2))
    assert not close(worker, 0.0)
    go_on.set()
    assert close(worker)
    assert [one.key for one in bench.next().jobs] == [1]
    assert bench.batches.empty()


def test_an_engine_that_cannot_close_does_not_stop_the_shutdown(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            raise OSError("in use")

    worker = bench.worker(Stuck())
    worker.start()
    assert close(worker)
    assert "engine_close_failed model=scripted error=OSError" in caplog.text


def test_it_counts_what_it_did(bench: Bench) -> None:
    worker = bench.worker(Scripted(lanes=2, hooks={"two": raising(RuntimeError())}))
    for key, word in enumerate(["one", "two", "three"]):
        worker.submit(job(word, key=key, final=key != 2))
    before = worker.load()
    assert (before.queued_finals, before.queued_partials, before.running) == (2, 1, 0)
    worker.start()
    close(worker, finish=True)
    after = worker.load()
    assert (after.queued_finals, after.queued_partials, after.running) == (0, 0, 0)
    assert (after.batches, after.batch_sizes, after.windows, after.failures) == (2, {2: 1, 1: 1}, 3, 1)
    assert after.audio_seconds == pytest.approx(1.2)
    assert after.decode_seconds > 0


def test_a_worker_that_waits_holds_on_to_no_client(bench: Bench) -> None:
    class Client:
        pass

    worker, client, forgotten = bench.worker(Scripted()), Client(), threading.Event()
    worker.start()
    weakref.finalize(client, forgotten.set)
    worker.submit(Job(client, 1, job("one").window, final=True))
    del client
    assert text(bench.next().outcomes[0]) == "one"
    assert forgotten.wait(30)
