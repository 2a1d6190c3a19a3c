from __future__ import annotations

import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Window
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.worker import BatchResult, Worker, decode_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from echoic.interfaces.engine import Engine, Hypothesis


class ShortEngine(ScriptedEngine):
    """Forgets the last window of every call that has more than ``enough``."""

    def __init__(self, enough: int) -> None:
        super().__init__()
        self._enough = enough

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        return super().decode(windows)[: None if len(windows) <= self._enough else -1]


def build_job(*words: str, key: int = 1, client: str = "ann", final: bool = True) -> DecodeJob:
    audio = draw_words(words)
    return DecodeJob(client, key, Window(audio, 16_000, 0.0, 0, audio.size, 0, is_last=True), final)


def build_raising_hook(error: BaseException) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook


def join_tokens(outcome: Hypothesis | DecodeFailed) -> str:
    assert not isinstance(outcome, DecodeFailed)
    return "".join(token.text for token in outcome.committed).strip()


class WorkerBench:
    """Workers whose batches can be waited for, and that are closed at the end."""

    def __init__(self) -> None:
        self.batches: SimpleQueue[BatchResult] = SimpleQueue()
        self._workers: list[Worker] = []

    def create_worker(self, engine: Engine, threads: int = 1, name: str = "scripted") -> Worker:
        worker = Worker(name, engine, threads, self.batches.put)
        self._workers.append(worker)
        return worker

    def next_batch(self) -> BatchResult:
        return self.batches.get(timeout=30)

    def close(self) -> None:
        for worker in self._workers:
            close_worker(worker)


def close_worker(worker: Worker, patience: float = 30, *, finish: bool = False) -> bool:
    worker.stop(finish=finish)
    return worker.join(patience)


@pytest.fixture
def bench() -> Iterator[WorkerBench]:
    bench = WorkerBench()
    yield bench
    bench.close()


def test_what_has_gathered_is_decoded_together_up_to_the_engines_lanes(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=4))
    for key in range(6):
        worker.submit_job(build_job("one", key=key))
    worker.start()
    assert [len(bench.next_batch().jobs) for _ in range(2)] == [4, 2]


def test_a_single_window_does_not_wait_for_company(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=8))
    worker.start()
    worker.submit_job(build_job("two"))
    assert join_tokens(bench.next_batch().outcomes[0]) == "two"


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_window_that_raises_fails_alone_and_its_cause_is_chained(
    bench: WorkerBench, error: BaseException
) -> None:
    worker = bench.create_worker(ScriptedEngine(word_hooks={"two": build_raising_hook(error)}))
    for key, word in enumerate(["one", "two", "three"]):
        worker.submit_job(build_job(word, key=key))
    worker.start()
    first, failure, third = bench.next_batch().outcomes
    assert (join_tokens(first), join_tokens(third)) == ("one", "three")
    assert isinstance(failure, DecodeFailed)
    assert failure.__cause__ is error
    assert "secret" not in failure.message


@pytest.mark.parametrize("error", [RuntimeError(), SystemExit(1)])
def test_the_thread_outlives_whatever_the_engine_raises(bench: WorkerBench, error: BaseException) -> None:
    worker = bench.create_worker(ScriptedEngine(word_hooks={"two": build_raising_hook(error)}))
    worker.start()
    worker.submit_job(build_job("two", key=1))
    assert isinstance(bench.next_batch().outcomes[0], DecodeFailed)
    worker.submit_job(build_job("one", key=2))
    assert join_tokens(bench.next_batch().outcomes[0]) == "one"


def test_too_few_hypotheses_for_a_batch_are_asked_for_again_one_by_one() -> None:
    outcomes = decode_jobs(ShortEngine(enough=1), [build_job("one", key=1), build_job("two", key=2)])
    assert [join_tokens(outcome) for outcome in outcomes] == ["one", "two"]


def test_no_hypothesis_for_a_window_is_a_failure() -> None:
    [outcome] = decode_jobs(ShortEngine(enough=0), [build_job("one")])
    assert isinstance(outcome, DecodeFailed)
    assert isinstance(outcome.__cause__, ValueError)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "boom"]), min_size=1, max_size=8))
def test_any_mix_of_good_and_bad_windows_gets_its_own_outcomes(words: list[str]) -> None:
    engine = ScriptedEngine(
        vocabulary=["one", "two", "boom"], word_hooks={"boom": build_raising_hook(OSError())}
    )
    audio = [draw_words([word], vocabulary=["one", "two", "boom"]) for word in words]
    jobs = [
        DecodeJob("ann", k, Window(a, 16_000, 0.0, 0, a.size, 0), is_final=True) for k, a in enumerate(audio)
    ]
    outcomes = decode_jobs(engine, jobs)
    assert [isinstance(outcome, DecodeFailed) for outcome in outcomes] == [word == "boom" for word in words]
    assert [join_tokens(o) for o in outcomes if not isinstance(o, DecodeFailed)] == [
        w for w in words if w != "boom"
    ]


def test_a_foreign_errors_text_is_logged_only_for_debugging(
    bench: WorkerBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    worker = bench.create_worker(
        ScriptedEngine(word_hooks={"two": build_raising_hook(RuntimeError("what was heard"))})
    )
    worker.start()
    worker.submit_job(build_job("two"))
    bench.next_batch()
    assert "decode_failed model=scripted error=RuntimeError" in caplog.text
    assert "what was heard" not in caplog.text


@pytest.mark.parametrize(("allowed", "configured", "threads"), [(1, 4, 1), (4, 2, 2), (2, 0, 1)])
def test_it_uses_as_many_threads_as_engine_and_configuration_allow(
    bench: WorkerBench, allowed: int, configured: int, threads: int
) -> None:
    meeting = threading.Barrier(threads + 1)
    engine = ScriptedEngine(
        word_hooks={"one": lambda: meeting.wait(timeout=30)}, max_batch_size=1, max_concurrency=allowed
    )
    worker = bench.create_worker(engine, configured, "counted")
    for key in range(threads):
        worker.submit_job(build_job("one", key=key))
    worker.submit_job(build_job("two", key=99))
    worker.start()
    meeting.wait(timeout=30)  # only passes when so many decode at the same time
    assert sum(len(bench.next_batch().jobs) for _ in range(threads + 1)) == threads + 1
    names = {thread.name for thread in threading.enumerate()}
    assert "echoic-counted-0" in names
    assert f"echoic-counted-{threads}" not in names


def test_what_is_dropped_or_left_before_it_began_is_not_decoded(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine())
    for key, client in enumerate(["ann", "ann", "bob", "cyd"]):
        worker.submit_job(build_job("one", key=key, client=client))
    worker.remove_jobs("ann", [0, 7])
    worker.remove_client("bob")
    worker.start()
    assert [(one.client, one.key) for one in bench.next_batch().jobs] == [("ann", 1), ("cyd", 3)]


def test_finishing_decodes_what_waits(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=1))
    for key in range(5):
        worker.submit_job(build_job("one", key=key))
    worker.start()
    assert close_worker(worker, finish=True)
    assert bench.batches.qsize() == 5


def test_abandoning_delivers_only_what_is_being_decoded(bench: WorkerBench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(30)

    worker = bench.create_worker(ScriptedEngine(max_batch_size=1, word_hooks={"one": hold}))
    worker.start()
    worker.submit_job(build_job("one", key=1))
    begun.wait(30)
    worker.submit_job(build_job("two", key=2))
    assert not close_worker(worker, 0.0)
    go_on.set()
    assert close_worker(worker)
    assert [one.key for one in bench.next_batch().jobs] == [1]
    assert bench.batches.empty()


def test_an_engine_that_cannot_close_does_not_stop_the_shutdown(
    bench: WorkerBench, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(ScriptedEngine):
        def close(self) -> None:
            raise OSError("in use")

    worker = bench.create_worker(Stuck())
    worker.start()
    assert close_worker(worker)
    assert "engine_close_failed model=scripted error=OSError" in caplog.text


def test_it_counts_what_it_did(bench: WorkerBench) -> None:
    worker = bench.create_worker(
        ScriptedEngine(max_batch_size=2, word_hooks={"two": build_raising_hook(RuntimeError())})
    )
    for key, word in enumerate(["one", "two", "three"]):
        worker.submit_job(build_job(word, key=key, final=key != 2))
    before = worker.collect_stats()
    assert (before.queued_finals, before.queued_partials, before.running) == (2, 1, 0)
    worker.start()
    close_worker(worker, finish=True)
    after = worker.collect_stats()
    assert (after.queued_finals, after.queued_partials, after.running) == (0, 0, 0)
    assert (after.batches, after.batch_sizes, after.windows, after.failures) == (2, {2: 1, 1: 1}, 3, 1)
    assert after.audio_seconds == pytest.approx(1.2)
    assert after.decode_seconds > 0


def test_a_worker_that_waits_holds_on_to_no_client(bench: WorkerBench) -> None:
    class Client:
        pass

    worker, client, forgotten = bench.create_worker(ScriptedEngine()), Client(), threading.Event()
    worker.start()
    weakref.finalize(client, forgotten.set)
    worker.submit_job(DecodeJob(client, 1, build_job("one").window, is_final=True))
    del client
    assert join_tokens(bench.next_batch().outcomes[0]) == "one"
    assert forgotten.wait(30)
