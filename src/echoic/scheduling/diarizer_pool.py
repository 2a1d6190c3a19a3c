"""The async door to a diarizer: one thread, whatever has gathered at a time, and no answer comes late."""

from __future__ import annotations

import asyncio
import contextvars
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
from echoic.scheduling.threads import call_soon_threadsafe, run_in_daemon_thread
from echoic.scheduling.worker import Failure, attempt_call

log = logging.getLogger(__name__)

#: Pieces of sound in one call, and the share of the patience that it may take: it answers all at its end.
_MAX_BATCH_SIZE: Final = 8
_BATCH_TIME_SHARE: Final = 0.25
#: Seconds that a question may wait for loading, which happens once.
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
    """Asks one diarizer for all sessions of a process; for one event loop.

    It is loaded when it is asked for the first time. A question that has no answer in time, or whose answer
    is an exception, is answered by None: finals must not wait for it.

    Args:
        load: Returns the diarizer; may block and raise.
        timeout: Seconds that a question may take, beside the loading.
    """

    def __init__(self, load: Callable[[], Diarizer], *, timeout: float = 2.0) -> None:
        self._load = load
        self._timeout = timeout
        self._seconds_per_job = 0.0
        self._condition = threading.Condition()
        self._queue: deque[_DiarizerJob] = deque()
        self._jobs_by_client: dict[Hashable, set[_DiarizerJob]] = {}
        self._diarizer: Diarizer | None = None
        self._has_tried_loading = False
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def pending_count(self) -> int:
        """Questions without an answer."""
        return sum(map(len, self._jobs_by_client.values()))

    def start_loading(self) -> None:
        """Begin to load it, if nobody has."""
        if self._thread is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            # Whoever asks first must not stand in the log for what is done for all.
            run = contextvars.Context().run
            self._thread = threading.Thread(
                target=run, args=(self._run_jobs, loop), name="echoic-speakers", daemon=True
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
        """Find out who speaks in a piece of sound.

        Args:
            client: Who asks.
            key: Comes back with the answer.
            chunk: What to listen to.
            on_done: Called once, on the event loop and never from within; not after ``remove_client``.
            extra_seconds: Seconds that it may take longer, since the sound came earlier than it plays.
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
        """Find out who spoke in all that led to ``state``; as ``submit_chunk``."""

        def on_answer(outcome: object) -> None:
            on_done(key, outcome if isinstance(outcome, tuple) else None)

        self._submit_job(_DiarizerJob(client, on_answer, None, state))

    def remove_client(self, client: Hashable) -> None:
        """Forget the client's questions."""
        for question in self._jobs_by_client.pop(client, set()):
            self._finish_job(question)

    async def close(self) -> None:
        """Answer what is still asked by None, and give the weights back."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        for question in [one for mine in self._jobs_by_client.values() for one in mine]:
            self._answer_job(question, None)
        if (thread := self._thread) is not None:
            await run_in_daemon_thread(lambda: thread.join(_CLOSE_TIMEOUT), "echoic-close-speakers")

    # ---- on the event loop

    def _submit_job(self, job: _DiarizerJob) -> None:
        self.start_loading()
        loop = asyncio.get_running_loop()
        if self._is_closed:
            loop.call_soon(job.on_answer, None)
            return
        self._jobs_by_client.setdefault(job.client, set()).add(job)
        queue = len(self._queue) * self._seconds_per_job
        if queue > self._timeout + job.extra_seconds:  # nobody waits for what cannot come in time
            job.timer = loop.call_later(0.0, self._answer_job, job, None)
            return
        self._restart_timer(job, self._timeout if self._has_tried_loading else _LOAD_TIMEOUT)
        with self._condition:
            self._queue.append(job)
            self._condition.notify()

    def _on_load_tried(self) -> None:
        """From now on the questions that waited for loading are as patient as others."""
        self._has_tried_loading = True
        for question in [one for mine in self._jobs_by_client.values() for one in mine]:
            self._restart_timer(question, self._timeout)

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
        mine = self._jobs_by_client.get(job.client, set())
        mine.discard(job)
        if not mine:
            self._jobs_by_client.pop(job.client, None)
        job.on_answer(outcome)

    def _finish_job(self, job: _DiarizerJob) -> None:
        job.is_done = True
        with self._condition, suppress(ValueError):
            self._queue.remove(job)
        if job.timer is not None:
            job.timer.cancel()

    # ---- on the thread

    def _run_jobs(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._wait_for_jobs(loop):
            if questions := self._take_batch():
                began = time.perf_counter()
                outcomes = self._compute_outcomes(questions)
                self._seconds_per_job = (time.perf_counter() - began) / len(questions)
                for question, outcome in zip(questions, outcomes, strict=True):
                    self._log_failure(outcome)
                    call_soon_threadsafe(loop, functools.partial(self._answer_job, question, outcome))
        if self._diarizer is not None:
            attempt_call(self._diarizer.close)

    def _wait_for_jobs(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Load the diarizer if it is not, wait for questions, and return whether to go on."""
        if self._diarizer is None:
            loaded = attempt_call(self._load)
            if isinstance(loaded, Failure):
                log.warning(
                    "speakers_not_loaded", extra={"event_values": {"error": type(loaded.error).__name__}}
                )
            else:
                self._diarizer = loaded
            call_soon_threadsafe(loop, self._on_load_tried)
        with self._condition:
            self._condition.wait_for(lambda: self._is_closed or self._queue)
            return not self._is_closed

    def _take_batch(self) -> list[_DiarizerJob]:
        """Return what has gathered: several pieces of sound, or one review."""
        with self._condition:
            taken: list[_DiarizerJob] = []
            in_time = (
                _BATCH_TIME_SHARE * self._timeout / self._seconds_per_job
                if self._seconds_per_job
                else _MAX_BATCH_SIZE
            )
            lanes = min(_MAX_BATCH_SIZE, max(1, int(in_time)))
            while self._queue and len(taken) < lanes and (not taken or self._queue[0].chunk):
                taken.append(self._queue.popleft())
                if not taken[-1].chunk:
                    break
            return taken

    def _log_failure(self, outcome: object) -> None:
        if isinstance(outcome, Failure):
            log.warning("speakers_failed", extra={"event_values": {"error": type(outcome.error).__name__}})

    def _compute_outcomes(self, jobs: Sequence[_DiarizerJob]) -> Sequence[object]:
        diarizer = self._diarizer
        if diarizer is None:
            return [None] * len(jobs)
        sounds = [question.chunk for question in jobs if question.chunk is not None]
        if not sounds:
            return [attempt_call(lambda: diarizer.finalize(jobs[0].state))]
        together = attempt_call(lambda: _diarize_chunks(diarizer, sounds))
        if isinstance(together, Failure) and len(sounds) > 1:  # one bad piece costs the others only time
            return [attempt_call(functools.partial(_diarize_chunk, diarizer, sound)) for sound in sounds]
        return [together] if isinstance(together, Failure) else together


def _diarize_chunks(diarizer: Diarizer, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
    voices = diarizer.diarize(chunks)
    if len(voices) != len(chunks):
        raise ValueError(f"{len(voices)} answers for {len(chunks)} pieces of sound")
    return voices


def _diarize_chunk(diarizer: Diarizer, chunk: DiarizationChunk) -> DiarizationResult:
    return _diarize_chunks(diarizer, [chunk])[0]
