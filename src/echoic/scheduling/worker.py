"""The threads that touch a model."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, TypeVar

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, OpenedModel, Window
from echoic.scheduling.fair_queue import DecodeJob, FairQueue
from echoic.session.effects import Decode

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Seconds; how long batches took is counted in classes up to each of these, and above the last.
DECODE_TIME_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Windows that fail one after the other, and none between that does not, before the engine is loaded anew.
_FAILURES_BEFORE_RELOAD: Final = 2
#: Seconds from one such load to the next: windows may be bad and the engine well.
_RELOAD_PAUSE: Final = 60.0
#: Threads that hang in the library at the same time before they are replaced no more: each holds an engine.
_MAX_HUNG_THREADS: Final = 4
#: Seconds between two looks at what the threads are at, at most.
_MAX_WATCH_INTERVAL: Final = 5.0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of the jobs that were decoded together: ``outcomes[i]`` is that of ``jobs[i]``."""

    jobs: list[DecodeJob]
    outcomes: list[Hypothesis | DecodeFailed]


@dataclass(frozen=True, slots=True)
class ModelStats:
    """What one model has to do and has done.

    Attributes:
        model: The model's id.
        queued_finals: Windows waiting for a final.
        queued_partials: Windows waiting for a partial.
        running: Windows being decoded.
        batches: Batches done.
        batch_sizes: How many batches of each size were done.
        windows: Windows done, failed ones included.
        failures: Windows that failed.
        audio_seconds: Seconds of audio in all windows done, context included.
        decode_seconds: Seconds of wall time spent in decoding, all threads together.
        decode_time_counts: Batches by how long they took: one count for each of ``DECODE_TIME_BOUNDS``, and one more.
        is_hung: All its threads hang, and what comes fails at once.
    """

    model: str
    queued_finals: int
    queued_partials: int
    running: int
    batches: int
    batch_sizes: Mapping[int, int]
    windows: int
    failures: int
    audio_seconds: float
    decode_seconds: float
    decode_time_counts: tuple[int, ...]
    is_hung: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What foreign code raised."""

    error: BaseException


def attempt_call(call: Callable[[], _T]) -> _T | Failure:
    """Return what ``call`` returns, or what it raised: the door between a worker and foreign code.

    ``SystemExit`` and its like are answers too: raised by a library in a thread they would end that
    thread without a word, and the windows after it would wait for ever.
    """
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  # the door; nothing is lost, it becomes a value
        return Failure(error)


_ObserveBatch = Callable[[Sequence[Window]], AbstractContextManager[None]]


class DecodeObserver:
    """Follows models being opened and windows being decoded, e.g. for traces; this base class ignores them.

    All methods are called on the event loop, except ``observe_batch``. None may raise.
    """

    def on_model_opened(self, client: Hashable, opened: OpenedModel) -> None:
        """Called in the task that opened a model for ``client``."""

    def on_submit(self, client: Hashable, decode: Decode) -> None:
        """Called before a window is queued."""

    def on_done(self, client: Hashable, key: int, outcome: Hypothesis | DecodeFailed | None) -> None:
        """Called before the client gets the outcome of a decode; None: the decode was cancelled."""

    def on_client_removed(self, client: Hashable) -> None:
        """Called after the decodes of a client were cancelled and the client was removed."""

    def observe_batch(self, model: str, windows: Sequence[Window]) -> AbstractContextManager[None]:  # noqa: ARG002  # for subclasses
        """Return a context in which a worker's thread decodes these windows together."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """What is done for an engine that is not well.

    Attributes:
        load: Loads another in its place; None: it has to do.
        decode_timeout: A decode that takes longer hangs, and is waited for no more.
        load_timeout: Seconds; the same for a load.
        retry_seconds: Seconds after which a model that was given up is tried again; twice as many each time it hangs
            again, as that costs another engine's memory.
    """

    load: Callable[[], Engine] | None = None
    decode_timeout: float = 120.0
    load_timeout: float = 120.0
    retry_seconds: float = 300.0


@dataclass(slots=True, eq=False)
class _WorkerThread:
    """What one thread is at.

    Attributes:
        jobs: What it decodes.
        is_loading: It loads the engine anew, before it decodes them (again).
        started_at: Since when it decodes, or loads.
        is_retry: They hung before, and each is decoded alone now.
        is_abandoned: It hangs, and was left behind.
    """

    jobs: list[DecodeJob] = field(default_factory=list)
    is_loading: bool = False
    started_at: float = 0.0
    is_retry: bool = False
    is_abandoned: bool = False


class Worker:
    """One model's engine, its queue, and the daemon threads that decode.

    Each thread takes what has gathered (at most ``engine.lanes``) as soon as it is free; nothing waits
    for a batch to fill.

    A thread that hangs in the engine is left behind. Another takes its place, with an engine that is loaded
    anew, and its windows are decoded once more, each alone: what hangs again is failed. A window that hangs
    alone while another thread hangs is failed at once. An engine that fails window after window is loaded
    anew too; where a load fails or hangs, the old one goes on.

    When so many threads hang that none takes their place any more, those that are left go on. When none is
    left the model is given up: what comes fails, until one of the threads comes back or, after a rest,
    another is tried.

    Args:
        name: The model's id.
        engine: Loaded; the worker closes it.
        max_concurrency: The most threads; the engine may allow fewer.
        on_batch: Called in a worker's thread with each finished batch; must not raise.
        health: What is done for an engine that hangs or always fails.
        observer: Follows the batches; None: nothing does.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        max_concurrency: int,
        on_batch: Callable[[BatchResult], None],
        health: HealthPolicy = HealthPolicy(),
        observer: DecodeObserver | None = None,
    ) -> None:
        self.name = name
        self._observer = observer or DecodeObserver()
        self.engine = engine
        self._on_batch = on_batch
        self._health = health
        self._retry_jobs: deque[DecodeJob] = deque()
        self._consecutive_failures = self._hung_count = self._hung_load_count = 0
        self._last_hang_at = 0.0
        self._reloaded_at: float | None = None
        self._ended = threading.Event()
        self._queue = FairQueue()
        self._condition = threading.Condition()
        self._is_closing = False
        self._running_count = 0
        self._batch_sizes: Counter[int] = Counter()
        self._failure_count = 0
        self._audio_seconds = self._decode_seconds = 0.0
        self._decode_time_counts = [0] * (len(DECODE_TIME_BOUNDS) + 1)
        self._max_threads = max(1, min(engine.max_concurrency, max_concurrency))
        shifts = [_WorkerThread() for _ in range(self._max_threads)]
        self._thread_numbers = itertools.count()
        self._threads = {shift: self._create_thread(shift) for shift in shifts}
        self._watchdog = threading.Thread(
            target=self._watch_threads, name=f"echoic-{name}-watch", daemon=True
        )

    def start(self) -> None:
        """Start decoding."""
        for thread in (*self._threads.values(), self._watchdog):
            thread.start()

    def submit_job(self, job: DecodeJob) -> None:
        """Let ``job`` be decoded when its turn comes.

        Raises:
            ValueError: A job of this client with this key already waits.
        """
        with self._condition:
            self._queue.push(job)
            self._condition.notify()
        self._fail_if_no_threads()

    def remove_jobs(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget those of the client's jobs that have not begun."""
        with self._condition:
            self._queue.remove_jobs(client, keys)
            gone = frozenset(keys)
            self._retry_jobs = deque(
                job for job in self._retry_jobs if job.client != client or job.key not in gone
            )

    def remove_client(self, client: Hashable) -> None:
        """Forget all jobs of the client that have not begun."""
        with self._condition:
            self._queue.remove_client(client)
            self._retry_jobs = deque(job for job in self._retry_jobs if job.client != client)

    def collect_stats(self) -> ModelStats:
        """Return what there is to do and what was done, as of one moment."""
        with self._condition:
            return ModelStats(
                model=self.name,
                queued_finals=self._queue.final_count + len(self._retry_jobs),
                queued_partials=self._queue.partial_count,
                running=self._running_count,
                batches=self._batch_sizes.total(),
                batch_sizes=dict(self._batch_sizes),
                windows=sum(size * count for size, count in self._batch_sizes.items()),
                failures=self._failure_count,
                audio_seconds=self._audio_seconds,
                decode_seconds=self._decode_seconds,
                decode_time_counts=tuple(self._decode_time_counts),
                is_hung=self._has_no_threads,
            )

    def stop(self, *, finish: bool) -> None:
        """Let the threads end; what is being decoded is delivered either way.

        Args:
            finish: True: after what waits is decoded; False: forget it.
        """
        with self._condition:
            self._is_closing = True
            if not finish:
                self._queue = FairQueue()
                self._retry_jobs.clear()
            self._condition.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the threads to end after ``stop``, close the engine; return whether they ended in time.

        A thread that hangs in the engine is left behind (it is a daemon), and the engine stays open under it.

        Args:
            timeout: Seconds to wait for the threads, altogether.
        """
        deadline = time.monotonic() + timeout
        for thread in tuple(self._threads.values()):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()
        ended = not self._has_no_threads and not any(thread.is_alive() for thread in self._threads.values())
        if ended and isinstance(raised := attempt_call(self.engine.close), Failure):
            _log_warning("engine_close_failed", self.name, raised.error)
        return ended

    def _create_thread(self, worker_thread: _WorkerThread, *, reload_first: bool = False) -> threading.Thread:
        name = f"echoic-{self.name}-{next(self._thread_numbers)}"
        return threading.Thread(
            target=self._run_thread, args=(worker_thread, reload_first), name=name, daemon=True
        )

    def _run_thread(
        self,
        worker_thread: _WorkerThread,
        reload_first: bool,  # noqa: FBT001  # a thread's target has no keywords
    ) -> None:  # a thread's target has no keywords
        if reload_first:
            self._reload_engine(worker_thread)
            with self._condition:
                if not self._should_continue(worker_thread):
                    return
        while self._decode_next_batch(worker_thread):
            pass

    def _decode_next_batch(self, worker_thread: _WorkerThread) -> bool:
        """Decode and deliver what has gathered; return whether to go on.

        A thread that waits for the next jobs holds on to none: they name their clients.
        """
        jobs = self._take_jobs(worker_thread)
        if not jobs:
            return False
        began = time.perf_counter()
        outcomes = decode_jobs(self.engine, jobs, self._observe_batch)
        if self._should_reload(outcomes) and self._reload_engine(worker_thread):
            outcomes = decode_jobs(self.engine, jobs, self._observe_batch)
        if self._record_batch(worker_thread, outcomes, time.perf_counter() - began):
            self._on_batch(BatchResult(jobs, outcomes))
        return not worker_thread.is_abandoned

    def _observe_batch(self, windows: Sequence[Window]) -> AbstractContextManager[None]:
        return self._observer.observe_batch(self.name, windows)

    def _take_jobs(self, worker_thread: _WorkerThread) -> list[DecodeJob]:
        """Wait for jobs and return what has gathered; nothing if the worker closes."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closing or len(self._queue) or self._retry_jobs)
            worker_thread.is_retry = bool(self._retry_jobs)
            jobs = (
                [self._retry_jobs.popleft()]
                if self._retry_jobs
                else self._queue.take_jobs(max(1, self.engine.max_batch_size))
            )
            worker_thread.jobs, worker_thread.started_at = jobs, time.monotonic()
            self._running_count += len(jobs)
            return jobs

    # ---- an engine that is not well

    def _should_reload(self, outcomes: Sequence[Hypothesis | DecodeFailed]) -> bool:
        """Return whether it should be loaded anew: it fails whatever it is given."""
        with self._condition:
            if not all(isinstance(outcome, DecodeFailed) for outcome in outcomes):
                self._consecutive_failures = 0
                return False
            self._consecutive_failures += len(outcomes)
            rested = self._reloaded_at is None or time.monotonic() - self._reloaded_at >= _RELOAD_PAUSE
            return self._consecutive_failures >= _FAILURES_BEFORE_RELOAD and rested and not self._is_closing

    def _reload_engine(self, worker_thread: _WorkerThread) -> bool:
        """Load the engine anew; return whether to decode with it. The old one goes when nobody is in it."""
        with self._condition:
            self._reloaded_at, self._consecutive_failures = time.monotonic(), 0
            if self._health.load is None:
                return False
            worker_thread.is_loading, worker_thread.started_at = True, self._reloaded_at
        fresh = attempt_call(self._health.load)
        with self._condition:
            worker_thread.is_loading, worker_thread.started_at = False, time.monotonic()
            self._hung_load_count -= worker_thread.is_abandoned
            if not isinstance(fresh, Failure):
                self.engine = fresh
        if isinstance(fresh, Failure):
            _log_warning("engine_reload_failed", self.name, fresh.error)
            return False
        _log.warning("engine_reloaded model=%s", self.name)
        return not worker_thread.is_abandoned

    def _watch_threads(self) -> None:
        care = self._health
        while not self._ended.wait(
            min(care.decode_timeout / 4, care.load_timeout / 4, care.retry_seconds / 4, _MAX_WATCH_INTERVAL)
        ):
            with self._condition:
                hung = [shift for shift in self._threads if self._is_hung(shift)]
            for shift in hung:
                self._abandon_thread(shift)
            with self._condition:
                thread = self._add_thread(reload_first=True) if self._should_retry() else None
            if thread is not None:
                thread.start()

    def _is_hung(self, worker_thread: _WorkerThread) -> bool:
        at_most = self._health.load_timeout if worker_thread.is_loading else self._health.decode_timeout
        return (
            bool(worker_thread.is_loading or worker_thread.jobs)
            and time.monotonic() - worker_thread.started_at > at_most
        )

    def _abandon_thread(self, worker_thread: _WorkerThread) -> None:
        """Go on without a thread that hangs; its windows are tried again, or failed."""
        with self._condition:
            if not self._is_hung(worker_thread):  # it came back just now
                return
            jobs, worker_thread.jobs, worker_thread.is_abandoned = worker_thread.jobs, [], True
            del self._threads[worker_thread]
            self._hung_count += 1
            self._hung_load_count += worker_thread.is_loading
            self._last_hang_at = time.monotonic()
            self._running_count -= len(jobs)
            # One that hangs alone costs an engine each time: while another hangs too it is not tried again.
            is_last = (
                worker_thread.is_retry
                or worker_thread.is_loading
                or (len(jobs) == 1 and self._hung_count > 1)
            )
            failed = [job for job in jobs if is_last or not job.is_final]
            self._retry_jobs.extend(job for job in jobs if job not in failed)
            self._failure_count += len(failed)
            thread = (
                self._add_thread(reload_first=not self._hung_load_count)
                if self._hung_count < _MAX_HUNG_THREADS
                else None
            )
            lost = self._has_no_threads
            self._condition.notify_all()
        _log.error(
            "engine_hangs model=%s windows=%d loading=%s given_up=%s",
            *(self.name, len(jobs), worker_thread.is_loading, lost),
        )
        if failed:
            self._on_batch(BatchResult(failed, [_build_hang_error() for _ in failed]))
        if thread is not None:
            thread.start()
        self._fail_if_no_threads()

    def _add_thread(self, *, reload_first: bool) -> threading.Thread:
        """Return one more thread, to be started, with an engine that is loaded anew or the one there is."""
        shift = _WorkerThread()
        thread = self._threads[shift] = self._create_thread(shift, reload_first=reload_first)
        return thread

    def _should_retry(self) -> bool:
        """Return whether it is time to try again with a thread in the place of one that hangs."""
        if len(self._threads) >= self._max_threads or self._is_closing:
            return False
        rest = self._health.retry_seconds * 2.0 ** max(0, self._hung_count - _MAX_HUNG_THREADS)
        return time.monotonic() - self._last_hang_at >= rest

    def _should_continue(self, worker_thread: _WorkerThread) -> bool:
        """Return whether a thread goes on; one that was left behind and comes back may have a place again."""
        if worker_thread.is_abandoned:
            self._hung_count -= 1
            if len(self._threads) < self._max_threads:  # better one that was slow than none
                worker_thread.is_abandoned = False
                self._threads[worker_thread] = threading.current_thread()
        return not worker_thread.is_abandoned

    @property
    def _has_no_threads(self) -> bool:
        return not self._threads

    def _fail_if_no_threads(self) -> None:
        """Answer what waits, if the model is given up."""
        with self._condition:
            if not self._has_no_threads:
                return
            jobs = [*self._retry_jobs, *self._queue.take_jobs(len(self._queue))]
            self._retry_jobs.clear()
            self._failure_count += len(jobs)
        if jobs:
            self._on_batch(BatchResult(jobs, [_build_hang_error() for _ in jobs]))

    def _record_batch(
        self, worker_thread: _WorkerThread, outcomes: Sequence[Hypothesis | DecodeFailed], seconds: float
    ) -> bool:
        """Note what a thread did; return False if it was given up, and its windows are another's."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, DecodeFailed)]
        with self._condition:
            if worker_thread.is_abandoned:
                self._should_continue(worker_thread)
                return False
            jobs, worker_thread.jobs = worker_thread.jobs, []
            self._running_count -= len(jobs)
            self._batch_sizes[len(jobs)] += 1
            self._failure_count += len(failed)
            self._audio_seconds += sum(job.window.audio.size / job.window.sample_rate for job in jobs)
            self._decode_seconds += seconds
            self._decode_time_counts[bisect_left(DECODE_TIME_BOUNDS, seconds)] += 1
        for failure in failed:
            _log_warning("decode_failed", self.name, failure.__cause__)
        return True


def decode_jobs(
    engine: Engine,
    jobs: Sequence[DecodeJob],
    observe_batch: _ObserveBatch = lambda _: nullcontext(),
) -> list[Hypothesis | DecodeFailed]:
    """Return one outcome for each job: decoded together, or each alone if that fails.

    So one bad window costs the others nothing but time. A window that was alone already is not tried again
    here; whether to ask once more is for the session to say.
    """
    together = attempt_call(lambda: _decode_together(engine, jobs, observe_batch))
    if not isinstance(together, Failure):
        return [*together]
    if len(jobs) > 1:
        return [outcome for job in jobs for outcome in decode_jobs(engine, [job], observe_batch)]
    failure = DecodeFailed()
    failure.__cause__ = together.error
    return [failure]


def _decode_together(
    engine: Engine,
    jobs: Sequence[DecodeJob],
    observe_batch: _ObserveBatch,
) -> list[Hypothesis]:
    windows = [job.window for job in jobs]
    with observe_batch(windows):
        hypotheses = engine.decode(windows)
    if len(hypotheses) != len(jobs):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(jobs)} windows")
    return hypotheses


def _build_hang_error() -> DecodeFailed:
    return DecodeFailed("The engine did not come to an end with this audio.", is_last=True)


def _log_warning(event: str, model: str, cause: BaseException | None) -> None:
    """Log the kind of a foreign error; its text, which may quote what was heard, only when debugging."""
    _log.warning("%s model=%s error=%s", event, model, type(cause).__name__)
    _log.debug("%s model=%s", event, model, exc_info=cause)
