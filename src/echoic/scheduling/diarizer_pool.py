"""Runs one diarizer for all sessions of a process, on a thread, with a time limit for each answer."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, Diarizer, SpeakerTurn
from echoic.scheduling.threads import (
    BatchThread,
    Failure,
    attempt_batch,
    attempt_call,
    call_soon_threadsafe,
    run_in_daemon_thread,
)

log = logging.getLogger(__name__)

#: Chunks in one batch, at most.
_MAX_BATCH_SIZE: Final = 8
#: Share of the time limit that one batch may take, because all its answers come at its end.
_BATCH_TIME_SHARE: Final = 0.25
#: Seconds that a job may wait for the diarizer to be loaded.
_LOAD_TIMEOUT: Final = 10.0
#: Seconds that ``close`` waits for the thread.
_CLOSE_TIMEOUT: Final = 2.0


@dataclass(slots=True, eq=False)
class _DiarizerJob:
    client: Hashable
    on_answer: Callable[[object], None]
    chunk: DiarizationChunk | None = None
    state: object = None
    extra_seconds: float = 0.0
    timer: asyncio.TimerHandle | None = None
    is_done: bool = field(default=False)


class DiarizerPool:
    """Runs one diarizer for all sessions of a process; for one event loop.

    The diarizer is loaded for the first job. A job that fails or takes too long is answered by None, because
    finals wait for the answer.

    Args:
        load: Returns the diarizer; may block and raise.
        timeout: Seconds that a job may take. Jobs submitted while the diarizer is loading are timed from the
            end of that load, whether it succeeded or not.
    """

    def __init__(self, load: Callable[[], Diarizer], *, timeout: float = 2.0) -> None:
        self._load = load
        self._timeout = timeout
        self._seconds_per_job = 0.0
        self._condition = threading.Condition()
        self._queue: deque[_DiarizerJob] = deque()
        self._jobs_by_client: dict[Hashable, set[_DiarizerJob]] = {}
        self._diarizer: Diarizer | None = None
        self._needs_load = True
        self._has_tried_loading = False
        self._thread: BatchThread[list[_DiarizerJob], Sequence[object]] | None = None
        self._is_closed = False

    @property
    def pending_count(self) -> int:
        """Jobs without an answer."""
        return sum(map(len, self._jobs_by_client.values()))

    def start_loading(self) -> None:
        """Start loading the diarizer, unless loading was started before."""
        if self._thread is None and not self._is_closed:
            deliver = functools.partial(self._deliver_results, asyncio.get_running_loop())
            self._thread = BatchThread(
                "echoic-speakers", self._condition, self._take_batch, self._run_batch, deliver
            )
            self._thread.start()

    def submit_chunk(
        self,
        client: Hashable,
        key: int,
        chunk: DiarizationChunk,
        on_done: Callable[[int, DiarizationResult | None], None],
        *,
        extra_seconds: float = 0.0,
    ) -> None:
        """Queue a chunk to find the speaker turns in.

        Args:
            client: The session.
            key: Passed to ``on_done``.
            chunk: The audio.
            on_done: Called once with the result or None, on the event loop and never from within this method;
                not called after ``remove_client``.
            extra_seconds: Seconds added to the time limit, for audio that was sent faster than real time.
        """

        def on_answer(outcome: object) -> None:
            on_done(key, outcome if isinstance(outcome, DiarizationResult) else None)

        self._submit_job(_DiarizerJob(client, on_answer, chunk, extra_seconds=extra_seconds))

    def submit_finalization(
        self,
        client: Hashable,
        key: int,
        state: object,
        on_done: Callable[[int, tuple[SpeakerTurn, ...] | None], None],
    ) -> None:
        """Queue the final assignment of turns to speakers for a session; see ``submit_chunk``.

        Args:
            client: The session.
            key: Passed to ``on_done``.
            state: The state of the session's last chunk.
            on_done: As for ``submit_chunk``.
        """

        def on_answer(outcome: object) -> None:
            on_done(key, outcome if isinstance(outcome, tuple) else None)

        self._submit_job(_DiarizerJob(client, on_answer, None, state))

    def remove_client(self, client: Hashable) -> None:
        """Remove the client's jobs without an answer."""
        for job in self._jobs_by_client.pop(client, set()):
            self._finish_job(job)

    async def close(self) -> None:
        """Answer all pending jobs by None and release the diarizer."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        for job in self._list_pending_jobs():
            self._answer_job(job, None)
        await run_in_daemon_thread(self._join_thread, "echoic-close-speakers")

    # ---- on the event loop

    def _submit_job(self, job: _DiarizerJob) -> None:
        self.start_loading()
        loop = asyncio.get_running_loop()
        if self._is_closed:
            loop.call_soon(job.on_answer, None)
            return
        self._jobs_by_client.setdefault(job.client, set()).add(job)
        expected_wait = len(self._queue) * self._seconds_per_job
        if expected_wait > self._timeout + job.extra_seconds:  # too late already: answer without waiting
            job.timer = loop.call_later(0.0, self._answer_job, job, None)
            return
        self._restart_timer(job, self._timeout if self._has_tried_loading else _LOAD_TIMEOUT)
        with self._condition:
            self._queue.append(job)
            self._condition.notify()

    def _on_load_tried(self) -> None:
        """Start the usual time limit of the jobs that waited for the diarizer to be loaded."""
        self._has_tried_loading = True
        for job in self._list_pending_jobs():
            self._restart_timer(job, self._timeout)

    def _list_pending_jobs(self) -> list[_DiarizerJob]:
        return [job for jobs in self._jobs_by_client.values() for job in jobs]

    def _restart_timer(self, job: _DiarizerJob, seconds: float) -> None:
        if job.timer is not None:
            job.timer.cancel()
        seconds += job.extra_seconds
        job.timer = asyncio.get_running_loop().call_later(seconds, self._on_timeout, job)

    def _on_timeout(self, job: _DiarizerJob) -> None:
        log.warning("speakers_late", extra={"event_values": {"waiting": self.pending_count}})
        self._answer_job(job, None)

    def _answer_job(self, job: _DiarizerJob, outcome: object) -> None:
        if job.is_done:
            return
        self._finish_job(job)
        others = self._jobs_by_client.get(job.client, set())
        others.discard(job)
        if not others:
            self._jobs_by_client.pop(job.client, None)
        job.on_answer(outcome)

    def _finish_job(self, job: _DiarizerJob) -> None:
        job.is_done = True
        with self._condition, suppress(ValueError):
            self._queue.remove(job)
        if job.timer is not None:
            job.timer.cancel()

    # ---- off the event loop

    def _join_thread(self) -> None:
        if self._thread is None:
            return
        self._thread.join(_CLOSE_TIMEOUT)
        if self._diarizer is not None and not self._thread.is_alive():
            attempt_call(self._diarizer.close)

    def _take_batch(self) -> list[_DiarizerJob] | None:
        """Wait for the next batch.

        Return several chunks, one finalization, or an empty list, which means: load the diarizer first.
        """
        if self._needs_load and not self._is_closed:
            self._needs_load = False
            return []
        self._condition.wait_for(lambda: self._is_closed or self._queue)
        if self._is_closed:
            return None
        jobs = [self._queue.popleft()]
        while jobs[0].chunk and self._queue and self._queue[0].chunk and len(jobs) < self._max_batch_size:
            jobs.append(self._queue.popleft())
        return jobs

    @property
    def _max_batch_size(self) -> int:
        if not self._seconds_per_job:
            return _MAX_BATCH_SIZE
        return min(_MAX_BATCH_SIZE, int(_BATCH_TIME_SHARE * self._timeout / self._seconds_per_job))

    def _run_batch(self, jobs: list[_DiarizerJob]) -> Sequence[object]:
        if not jobs:
            self._load_diarizer()
            return ()
        diarizer = self._diarizer
        if diarizer is None:
            self._needs_load = True
            return [None] * len(jobs)
        began = time.perf_counter()
        chunks = [job.chunk for job in jobs if job.chunk is not None]
        results: Sequence[object]
        if chunks:
            results = attempt_batch(diarizer.diarize, chunks)
        else:
            results = [attempt_call(lambda: diarizer.finalize(jobs[0].state))]
        self._seconds_per_job = (time.perf_counter() - began) / len(jobs)
        return results

    def _load_diarizer(self) -> None:
        loaded = attempt_call(self._load)
        if isinstance(loaded, Failure):
            error = type(loaded.error).__name__
            log.warning("speakers_not_loaded", extra={"event_values": {"error": error}})
        else:
            self._diarizer = loaded

    def _deliver_results(
        self, loop: asyncio.AbstractEventLoop, jobs: list[_DiarizerJob], results: Sequence[object]
    ) -> None:
        if not jobs:
            call_soon_threadsafe(loop, self._on_load_tried)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Failure):
                error = type(result.error).__name__
                log.warning("speakers_failed", extra={"event_values": {"error": error}})
            call_soon_threadsafe(loop, functools.partial(self._answer_job, job, result))
