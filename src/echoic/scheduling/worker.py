"""Decodes one model's windows in batches on threads, and recovers from hangs and crashes of its engine.

An exception fails only the windows that cannot be decoded alone. A decode that hangs is abandoned with its
thread. If the engine hangs or cannot even decode silence, it is reloaded and the finals are decoded again.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, Window
from echoic.scheduling.fair_queue import DecodeJob, FairQueue
from echoic.scheduling.health import EngineHealth, HealthPolicy, can_decode_silence
from echoic.scheduling.observer import DecodeObserver
from echoic.scheduling.stats import DecodeCounters, ModelStats
from echoic.scheduling.threads import BatchThread, Failure, attempt_batch, attempt_call, call_with_timeout

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The outcomes of jobs that were decoded together: ``outcomes[i]`` belongs to ``jobs[i]``."""

    jobs: list[DecodeJob]
    outcomes: list[Hypothesis | DecodeFailed]


@dataclass(frozen=True, slots=True)
class _Batch:
    jobs: list[DecodeJob]
    is_retry: bool
    """Whether this is the second try of one job: its first batch hung, or its engine was broken."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    outcomes: list[Hypothesis | DecodeFailed]
    seconds: float
    broken_engine: Engine | None
    """The engine, if it cannot decode anything."""


class Worker:
    """One model's engine, its queue, and the daemon threads that decode.

    Each thread takes all queued jobs, at most ``engine.max_batch_size``, as soon as it is free; no batch
    waits to be filled.

    After an incident (``health``) the engine is reloaded once. The finals of the batches that hung or failed
    are decoded again, each alone. If the incident repeats, the model is unavailable: every job fails.

    Args:
        name: The model's id.
        engine: Loaded; the worker closes it.
        max_concurrency: The most threads; the engine may allow fewer.
        on_batch: Called in a worker's thread with each finished batch; must not raise.
        policy: When an engine is reloaded.
        observer: Observes the batches, or None.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        max_concurrency: int,
        on_batch: Callable[[BatchResult], None],
        policy: HealthPolicy,
        observer: DecodeObserver | None = None,
    ) -> None:
        self.name = name
        self._on_batch = on_batch
        self._policy = policy
        self._observer = observer or DecodeObserver()
        self._condition = threading.Condition()
        self._health = EngineHealth(engine, policy)
        self._queue = FairQueue()
        self._retry_jobs: deque[DecodeJob] = deque()
        self._counters = DecodeCounters()
        self._is_closing = False
        self._thread_numbers = itertools.count()
        thread_count = max(1, min(engine.max_concurrency, max_concurrency))
        self._threads = [self._create_thread() for _ in range(thread_count)]
        self._hung_threads: list[BatchThread[_Batch, _Decoded]] = []
        self._has_ended = False
        self._check_due = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name=f"echoic-{name}-watch", daemon=True)

    @property
    def engine(self) -> Engine:
        """The engine that decodes now."""
        return self._health.engine

    def start(self) -> None:
        """Start decoding."""
        for thread in self._threads:
            thread.start()
        self._supervisor.start()

    def submit_job(self, job: DecodeJob) -> None:
        """Queue a job; if the model is unavailable, it fails at once.

        Raises:
            ValueError: A job of this client with this key is already queued.
        """
        with self._condition:
            self._queue.push(job)
            failed = self._drain_jobs() if self._health.is_unavailable else []
            self._condition.notify()
        self._deliver_failed(failed, _build_unavailable_error)

    def remove_jobs(self, client: Hashable, keys: Iterable[int]) -> None:
        """Remove the client's queued jobs with these keys."""
        removed = frozenset(keys)
        with self._condition:
            self._queue.remove_jobs(client, removed)
            self._retry_jobs = deque(
                job for job in self._retry_jobs if job.client != client or job.key not in removed
            )

    def remove_client(self, client: Hashable) -> None:
        """Remove all queued jobs of the client."""
        with self._condition:
            self._queue.remove_client(client)
            self._retry_jobs = deque(job for job in self._retry_jobs if job.client != client)

    def collect_stats(self) -> ModelStats:
        """Return the backlog and the totals, as of one moment."""
        with self._condition:
            counters = self._counters
            return ModelStats(
                model=self.name,
                queued_finals=self._queue.final_count + len(self._retry_jobs),
                queued_partials=self._queue.partial_count,
                running=sum(len(thread.batch.jobs) for thread in self._threads if thread.batch),
                batches=counters.batch_sizes.total(),
                batch_sizes=dict(counters.batch_sizes),
                windows=sum(size * count for size, count in counters.batch_sizes.items()),
                failures=counters.failures,
                audio_seconds=counters.audio_seconds,
                decode_seconds=counters.decode_seconds,
                decode_time_counts=tuple(counters.time_counts),
                is_unavailable=self._health.is_unavailable,
            )

    def stop(self, *, finish: bool) -> None:
        """Let the threads end; results of running batches are delivered either way.

        Args:
            finish: Whether the queued jobs are decoded first; otherwise they are dropped.
        """
        with self._condition:
            self._is_closing = True
            if not finish:
                self._drain_jobs()
            self._condition.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the threads to end after ``stop`` and close the engine; return whether they ended in time.

        A thread that hangs in the engine stays behind (it is a daemon), and the engine stays open.

        Args:
            timeout: Seconds for all threads together.
        """
        deadline = time.monotonic() + timeout
        for thread in tuple(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._condition:
            self._has_ended = True
            threads = [*self._threads, *(self._hung_threads if self._health.is_unavailable else ())]
        self._check_due.set()
        has_ended = not any(thread.is_alive() for thread in threads)
        if has_ended:
            self._close_engine(self.engine)
        return has_ended

    # ---- in the threads that decode

    def _create_thread(self) -> BatchThread[_Batch, _Decoded]:
        name = f"echoic-{self.name}-{next(self._thread_numbers)}"
        return BatchThread(name, self._condition, self._take_batch, self._decode_batch, self._deliver_batch)

    def _take_batch(self) -> _Batch | None:
        self._condition.wait_for(self._can_proceed)
        if self._health.is_unavailable:
            return None
        if self._retry_jobs:
            return _Batch([self._retry_jobs.popleft()], is_retry=True)
        jobs = self._queue.take_jobs(max(1, self.engine.max_batch_size))
        return _Batch(jobs, is_retry=False) if jobs else None

    def _can_proceed(self) -> bool:
        """Return whether there is a batch to decode, or a reason to end."""
        has_jobs = bool(len(self._queue) or self._retry_jobs)
        return self._health.is_unavailable or (self._health.is_ready if has_jobs else self._is_closing)

    def _decode_batch(self, batch: _Batch) -> _Decoded:
        engine, began = self.engine, time.perf_counter()
        outcomes = decode_jobs(engine, batch.jobs, self._observe_batch)
        with self._condition:
            is_suspect = self._health.record_outcomes(outcomes)
        seconds = time.perf_counter() - began
        is_broken = is_suspect and not can_decode_silence(engine)
        return _Decoded(outcomes, seconds, engine if is_broken else None)

    def _observe_batch(self, windows: Sequence[Window]) -> AbstractContextManager[None]:
        return self._observer.observe_batch(self.name, windows)

    def _deliver_batch(self, batch: _Batch, decoded: _Decoded) -> None:
        if decoded.broken_engine is not None:
            self._handle_broken_engine(batch, decoded.broken_engine)
            return
        failed = [outcome for outcome in decoded.outcomes if isinstance(outcome, DecodeFailed)]
        with self._condition:
            self._counters.record_batch(batch.jobs, len(failed), decoded.seconds)
        for failure in failed:
            _log_warning("decode_failed", self.name, failure.__cause__)
        self._on_batch(BatchResult(batch.jobs, decoded.outcomes))

    # ---- an engine that hangs or fails

    def _handle_broken_engine(self, batch: _Batch, engine: Engine) -> None:
        """Report an engine that cannot decode anything, unless another thread did; retry the finals."""
        with self._condition:
            if engine is self.engine and self._health.is_ready:
                self._health.report_incident(time.monotonic())
            failed = self._schedule_retry(batch)
        self._check_due.set()
        self._finish_incident(failed, partial(DecodeFailed, is_last=True))

    def _supervise(self) -> None:
        while not self._has_ended:
            self._check_due.wait(self._policy.check_interval)
            self._check_due.clear()
            self._replace_hung_threads()
            if self._health.needs_reload and self._policy.load is not None:
                self._reload_engine(self._policy.load)

    def _replace_hung_threads(self) -> None:
        """Abandon the threads that hang; retry the finals that they decode on new threads."""
        with self._condition:
            timeout = self._policy.decode_timeout
            hung = [thread for thread in self._threads if thread.measure_runtime() > timeout]
            if not hung:
                return
            # Threads that hang in the engine from before the last reload are the incident that led to it.
            reloaded_at = self._health.reloaded_at
            if self._health.is_ready and any(thread.started_at >= reloaded_at for thread in hung):
                is_first = not any(thread.is_alive() for thread in self._hung_threads)
                self._health.report_incident(time.monotonic(), can_reload=is_first)
            batches = [batch for thread in hung if (batch := thread.abandon()) is not None]
            failed = [job for batch in batches for job in self._schedule_retry(batch)]
            self._hung_threads += hung
            fresh = [] if self._health.is_unavailable else [self._create_thread() for _ in hung]
            self._threads = [thread for thread in self._threads if thread not in hung] + fresh
        windows = sum(len(batch.jobs) for batch in batches)
        _log.error(
            "engine_hangs model=%s windows=%d given_up=%s", self.name, windows, self._health.is_unavailable
        )
        for thread in fresh:
            thread.start()
        self._finish_incident(failed, _build_hang_error)

    def _reload_engine(self, load: Callable[[], Engine]) -> None:
        """Replace the engine; the old one is released when no thread is in it."""
        loaded = call_with_timeout(load, self._policy.load_timeout, f"echoic-{self.name}-reload")
        if isinstance(loaded, Failure):
            _log_warning("engine_reload_failed", self.name, loaded.error)
        else:
            _log.warning("engine_reloaded model=%s", self.name)
        with self._condition:
            self._health.finish_reload(None if isinstance(loaded, Failure) else loaded, time.monotonic())
            has_ended = self._has_ended
        self._finish_incident([], _build_unavailable_error)
        if has_ended and not isinstance(loaded, Failure):
            self._close_engine(loaded)

    def _schedule_retry(self, batch: _Batch) -> list[DecodeJob]:
        """Queue the batch's finals once more; return the jobs that fail instead."""
        if batch.is_retry or self._health.is_unavailable:
            return batch.jobs
        self._retry_jobs.extend(job for job in batch.jobs if job.is_final)
        return [job for job in batch.jobs if not job.is_final]

    def _finish_incident(self, failed: Sequence[DecodeJob], build_error: Callable[[], DecodeFailed]) -> None:
        """Fail jobs, and all queued ones if the model is unavailable now; wake the threads."""
        with self._condition:
            is_unavailable = self._health.is_unavailable
            drained = self._drain_jobs() if is_unavailable else []
            self._condition.notify_all()
        if is_unavailable:
            _log.error("engine_unavailable model=%s", self.name)
        self._deliver_failed(failed, build_error)
        self._deliver_failed(drained, _build_unavailable_error)

    def _drain_jobs(self) -> list[DecodeJob]:
        jobs = [*self._retry_jobs, *self._queue.take_jobs(len(self._queue))]
        self._retry_jobs.clear()
        return jobs

    def _deliver_failed(self, jobs: Sequence[DecodeJob], build_error: Callable[[], DecodeFailed]) -> None:
        if jobs:
            with self._condition:
                self._counters.failures += len(jobs)
            self._on_batch(BatchResult([*jobs], [build_error() for _ in jobs]))

    def _close_engine(self, engine: Engine) -> None:
        if isinstance(raised := attempt_call(engine.close), Failure):
            _log_warning("engine_close_failed", self.name, raised.error)


def decode_jobs(
    engine: Engine,
    jobs: Sequence[DecodeJob],
    observe_batch: Callable[[Sequence[Window]], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> list[Hypothesis | DecodeFailed]:
    """Return one outcome for each job: decoded together, or each alone if that fails.

    A single window is decoded once; the session decides whether to ask again.
    """

    def decode(windows: Sequence[Window]) -> Sequence[Hypothesis]:
        with observe_batch(windows):
            return engine.decode(windows)

    results = attempt_batch(decode, [job.window for job in jobs])
    return [_to_decode_failed(result) if isinstance(result, Failure) else result for result in results]


def _to_decode_failed(failure: Failure) -> DecodeFailed:
    error = DecodeFailed()
    error.__cause__ = failure.error
    return error


def _build_hang_error() -> DecodeFailed:
    return DecodeFailed("The engine took too long to decode this audio.", is_last=True)


def _build_unavailable_error() -> DecodeFailed:
    return DecodeFailed("The model is not available any more.", is_last=True)


def _log_warning(event: str, model: str, cause: BaseException | None) -> None:
    """Log the type of a foreign exception; its text, which may quote the audio, only at debug level."""
    _log.warning("%s model=%s error=%s", event, model, type(cause).__name__)
    _log.debug("%s model=%s", event, model, exc_info=cause)
