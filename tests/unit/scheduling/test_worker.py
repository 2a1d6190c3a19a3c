from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, Window
from echoic.scheduling import threads
from echoic.scheduling import worker as worker_module
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.health import HealthPolicy
from echoic.scheduling.worker import BatchResult, Worker, decode_jobs

#: Seconds of the bench's clock, which only hangs and reloads advance.
DECODE_TIMEOUT = 0.02


class ShortEngine(ScriptedEngine):
    """Returns one result too few for more than ``enough`` windows."""

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


class BrokenEngine(ScriptedEngine):
    """Fails whatever it is given."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        raise RuntimeError(len(windows))


class WorkerBench:
    """Creates workers, waits for their batches, and closes them at the end.

    Its clock replaces ``time.monotonic`` in the workers, so that no decode hangs because the machine is busy.
    """

    def __init__(self) -> None:
        self.batches: SimpleQueue[BatchResult] = SimpleQueue()
        self.released = threading.Event()
        self.load_count = 0
        self._now = 0.0
        self._workers: list[Worker] = []

    def monotonic(self) -> float:
        return self._now

    def perf_counter(self) -> float:
        return time.perf_counter()

    def create_worker(self, engine: Engine, threads: int = 1, name: str = "scripted") -> Worker:
        worker = Worker(name, engine, threads, self.batches.put, HealthPolicy())
        self._workers.append(worker)
        return worker

    def create_supervised_worker(
        self,
        engine: Engine,
        load: Callable[[], Engine],
        *,
        threads: int = 1,
        load_timeout: float = 30.0,
        reload_interval: float = 300.0,
    ) -> Worker:
        """Create a worker that reloads its engine."""

        def load_counted() -> Engine:
            self.load_count += 1
            self._now += DECODE_TIMEOUT
            return load()

        policy = HealthPolicy(load_counted, DECODE_TIMEOUT, load_timeout, reload_interval)
        worker = Worker("scripted", engine, threads, self.batches.put, policy)
        self._workers.append(worker)
        return worker

    def build_hanging_engine(self, max_concurrency: int = 1) -> ScriptedEngine:
        """Return an engine that hangs at "zulu" until the test ends."""
        batch_size = 8 if max_concurrency == 1 else 1
        return ScriptedEngine(
            word_hooks={"zulu": self._hang}, max_batch_size=batch_size, max_concurrency=max_concurrency
        )

    def _hang(self) -> None:
        self._now += 2 * DECODE_TIMEOUT
        self.released.wait(60)

    def next_batch(self) -> BatchResult:
        return self.batches.get(timeout=30)

    def collect_texts(self, count: int) -> dict[str, str | None]:
        """Wait for ``count`` clients' outcomes; return their texts, None for a failure."""
        texts: dict[str, str | None] = {}
        while len(texts) < count:
            batch = self.next_batch()
            for job, outcome in zip(batch.jobs, batch.outcomes, strict=True):
                failed = isinstance(outcome, DecodeFailed)
                texts[str(job.client)] = None if failed else join_tokens(outcome)
        return texts

    def close(self) -> None:
        self.released.set()
        for worker in self._workers:
            close_worker(worker)


def close_worker(worker: Worker, timeout: float = 30, *, finish: bool = False) -> bool:
    worker.stop(finish=finish)
    return worker.join(timeout)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerBench]:
    bench = WorkerBench()
    for module in (threads, worker_module):
        monkeypatch.setattr(module, "time", bench)
    yield bench
    bench.close()


def test_queued_windows_are_batched_up_to_the_engines_limit(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=4))
    for key in range(6):
        worker.submit_job(build_job("one", key=key))
    worker.start()
    assert [len(bench.next_batch().jobs) for _ in range(2)] == [4, 2]


def test_a_single_window_is_decoded_at_once(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=8))
    worker.start()
    worker.submit_job(build_job("two"))
    assert join_tokens(bench.next_batch().outcomes[0]) == "two"


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_a_bad_window_fails_alone_with_its_cause(bench: WorkerBench, error: BaseException) -> None:
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
def test_the_thread_survives_exceptions_of_the_engine(bench: WorkerBench, error: BaseException) -> None:
    worker = bench.create_worker(ScriptedEngine(word_hooks={"two": build_raising_hook(error)}))
    worker.start()
    worker.submit_job(build_job("two", key=1))
    assert isinstance(bench.next_batch().outcomes[0], DecodeFailed)
    worker.submit_job(build_job("one", key=2))
    assert join_tokens(bench.next_batch().outcomes[0]) == "one"


def test_a_batch_with_missing_results_is_decoded_one_by_one() -> None:
    outcomes = decode_jobs(ShortEngine(enough=1), [build_job("one", key=1), build_job("two", key=2)])
    assert [join_tokens(outcome) for outcome in outcomes] == ["one", "two"]


def test_a_window_without_a_result_fails() -> None:
    [outcome] = decode_jobs(ShortEngine(enough=0), [build_job("one")])
    assert isinstance(outcome, DecodeFailed)
    assert isinstance(outcome.__cause__, ValueError)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "boom"]), min_size=1, max_size=8))
def test_each_window_of_a_mixed_batch_gets_its_own_outcome(words: list[str]) -> None:
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


def test_texts_of_foreign_errors_are_logged_at_debug_level_only(
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
def test_threads_are_limited_by_engine_and_settings(
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


def test_removed_jobs_are_not_decoded(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine())
    for key, client in enumerate(["ann", "ann", "bob", "cyd"]):
        worker.submit_job(build_job("one", key=key, client=client))
    worker.remove_jobs("ann", [0, 7])
    worker.remove_client("bob")
    worker.start()
    assert [(one.client, one.key) for one in bench.next_batch().jobs] == [("ann", 1), ("cyd", 3)]


def test_stop_can_finish_queued_jobs(bench: WorkerBench) -> None:
    worker = bench.create_worker(ScriptedEngine(max_batch_size=1))
    for key in range(5):
        worker.submit_job(build_job("one", key=key))
    worker.start()
    assert close_worker(worker, finish=True)
    assert bench.batches.qsize() == 5


def test_stop_delivers_running_jobs_and_drops_queued_ones(bench: WorkerBench) -> None:
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


def test_an_error_of_close_is_logged(bench: WorkerBench, caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(ScriptedEngine):
        def close(self) -> None:
            raise OSError("in use")

    worker = bench.create_worker(Stuck())
    worker.start()
    assert close_worker(worker)
    assert "engine_close_failed model=scripted error=OSError" in caplog.text


def test_stats_count_the_backlog_and_the_totals(bench: WorkerBench) -> None:
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


def test_a_waiting_worker_holds_no_reference_to_clients(bench: WorkerBench) -> None:
    class Client:
        pass

    worker, client, forgotten = bench.create_worker(ScriptedEngine()), Client(), threading.Event()
    worker.start()
    weakref.finalize(client, forgotten.set)
    worker.submit_job(DecodeJob(client, 1, build_job("one").window, is_final=True))
    del client
    assert join_tokens(bench.next_batch().outcomes[0]) == "one"
    assert forgotten.wait(30)


# ---- an engine that hangs or fails


def test_a_window_that_hangs_once_is_decoded_after_a_reload(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(bench.build_hanging_engine(), ScriptedEngine)
    for client, word in (("ann", "one"), ("bob", "zulu"), ("cid", "two")):
        worker.submit_job(build_job(word, client=client))  # all of one batch
    worker.start()
    assert bench.collect_texts(3) == {"ann": "one", "bob": "zulu", "cid": "two"}
    stats = worker.collect_stats()
    assert (bench.load_count, stats.failures, stats.is_unavailable) == (1, 0, False)


def test_two_threads_that_hang_at_once_cost_one_reload(bench: WorkerBench) -> None:
    engine = bench.build_hanging_engine(max_concurrency=2)
    worker = bench.create_supervised_worker(engine, ScriptedEngine, threads=2)
    worker.submit_job(build_job("zulu", client="ann"))
    worker.submit_job(build_job("zulu", client="bob"))
    worker.start()
    assert bench.collect_texts(2) == {"ann": "zulu", "bob": "zulu"}
    assert bench.load_count == 1


def test_a_second_hang_makes_the_model_unavailable(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(bench.build_hanging_engine(), bench.build_hanging_engine)
    worker.submit_job(build_job("zulu", client="ann"))
    worker.submit_job(build_job("zulu", client="bob"))
    worker.submit_job(build_job("one", client="bob", key=2, final=False))
    worker.start()
    assert bench.collect_texts(2) == {"ann": None, "bob": None}
    worker.submit_job(build_job("one", client="cid"))
    failure = bench.next_batch().outcomes[0]
    assert isinstance(failure, DecodeFailed)
    assert failure.is_last
    assert worker.collect_stats().is_unavailable
    assert bench.load_count == 1


def test_an_unavailable_model_stays_so_when_its_thread_returns(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(bench.build_hanging_engine(), bench.build_hanging_engine)
    worker.submit_job(build_job("zulu", client="ann"))
    worker.start()
    assert bench.collect_texts(1) == {"ann": None}
    assert not close_worker(worker, 0)
    bench.released.set()
    worker.submit_job(build_job("one", client="bob"))
    assert bench.collect_texts(1) == {"bob": None}
    assert worker.collect_stats().is_unavailable


def test_a_hang_long_after_a_reload_costs_another_reload(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(BrokenEngine(), bench.build_hanging_engine, reload_interval=0.0)
    for key in range(2):
        worker.submit_job(build_job("one", client=f"client {key}"))
    worker.start()
    assert bench.collect_texts(2) == {"client 0": "one", "client 1": "one"}
    worker.submit_job(build_job("one", client="ann"))
    assert bench.collect_texts(1) == {"ann": "one"}
    worker.submit_job(build_job("zulu", client="bob"))
    assert bench.collect_texts(1) == {"bob": None}  # hung, reloaded, hung again beside the first thread
    assert bench.load_count == 2
    assert worker.collect_stats().is_unavailable


def test_a_partial_that_hangs_fails_and_is_not_retried(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(bench.build_hanging_engine(), ScriptedEngine)
    worker.submit_job(build_job("zulu", client="bob", final=False))
    worker.start()
    assert bench.collect_texts(1) == {"bob": None}
    assert not worker.collect_stats().is_unavailable


def test_a_retried_job_can_be_removed(bench: WorkerBench) -> None:
    reloading, proceed = threading.Event(), threading.Event()

    def load() -> Engine:
        reloading.set()
        proceed.wait(30)
        return ScriptedEngine()

    worker = bench.create_supervised_worker(bench.build_hanging_engine(), load)
    for client in ("ann", "bob", "cid"):
        worker.submit_job(build_job("zulu", client=client))
    worker.start()
    reloading.wait(30)
    worker.remove_client("ann")
    worker.remove_jobs("bob", [1])
    proceed.set()
    assert bench.collect_texts(1) == {"cid": "zulu"}
    assert bench.batches.empty()


def test_an_engine_that_always_fails_is_reloaded(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(BrokenEngine(), ScriptedEngine)
    worker.submit_job(build_job("one", client="ann"))
    worker.submit_job(build_job("two", client="bob"))
    worker.start()
    assert bench.collect_texts(2) == {"ann": "one", "bob": "two"}
    assert bench.load_count == 1


def test_an_engine_that_fails_after_its_reload_is_unavailable(bench: WorkerBench) -> None:
    worker = bench.create_supervised_worker(BrokenEngine(), BrokenEngine)
    for number in range(4):
        worker.submit_job(build_job("one", client=f"client {number}"))
    worker.start()
    assert set(bench.collect_texts(4).values()) == {None}
    assert worker.collect_stats().is_unavailable
    assert bench.load_count == 1


def test_bad_windows_do_not_make_the_engine_reload(bench: WorkerBench) -> None:
    engine = ScriptedEngine(word_hooks={"two": build_raising_hook(RuntimeError())})
    worker = bench.create_supervised_worker(engine, ScriptedEngine)
    for number in range(6):
        worker.submit_job(build_job("two", client=f"client {number}"))
    worker.start()
    assert set(bench.collect_texts(6).values()) == {None}
    assert bench.load_count == 0


def test_a_model_whose_reload_fails_is_unavailable(
    bench: WorkerBench, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Engine:
        raise OSError("a path of this machine")

    worker = bench.create_supervised_worker(bench.build_hanging_engine(), load)
    worker.submit_job(build_job("zulu", client="ann"))
    worker.start()
    assert bench.collect_texts(1) == {"ann": None}
    assert worker.collect_stats().is_unavailable
    assert "engine_reload_failed model=scripted error=OSError" in caplog.text
    assert "a path of this machine" not in [
        record.message for record in caplog.records if record.levelno > 10
    ]


def test_a_model_whose_reload_hangs_is_unavailable(bench: WorkerBench) -> None:
    def load() -> Engine:
        bench.released.wait(60)
        return ScriptedEngine()

    worker = bench.create_supervised_worker(bench.build_hanging_engine(), load, load_timeout=0.05)
    worker.submit_job(build_job("zulu", client="ann"))
    worker.start()
    assert bench.collect_texts(1) == {"ann": None}
    assert worker.collect_stats().is_unavailable
