"""The threads that touch a model."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from echoic.errors import DecodeFailed
from echoic.schedule.queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from echoic.engines.base import Engine
    from echoic.schedule.queue import Job
    from echoic.text.hypothesis import Hypothesis

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Seconds; how long batches took is counted in classes up to each of these, and above the last.
DECODE_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of the jobs that were decoded together: ``outcomes[i]`` is that of ``jobs[i]``."""

    jobs: list[Job]
    outcomes: list[Hypothesis | DecodeFailed]


@dataclass(frozen=True, slots=True)
class ModelLoad:
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
        decode_classes: Batches by how long they took: one count for each of ``DECODE_BOUNDS``, and one more.
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
    decode_classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    """What foreign code raised."""

    error: BaseException


def attempt(call: Callable[[], _T]) -> _T | Raised:
    """Return what ``call`` returns, or what it raised: the door between a worker and foreign code.

    ``SystemExit`` and its like are answers too: raised by a library in a thread they would end that
    thread without a word, and the windows after it would wait for ever.
    """
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  # the door; nothing is lost, it becomes a value
        return Raised(error)


class Worker:
    """One model's engine, its queue, and the daemon threads that decode.

    Each thread takes what has gathered (at most ``engine.lanes``) as soon as it is free; nothing waits
    for a batch to fill.

    Args:
        name: The model's id.
        engine: Loaded; the worker closes it.
        threads: The most threads; the engine may allow fewer.
        deliver: Called in a worker's thread with each finished batch; must not raise.
    """

    def __init__(self, name: str, engine: Engine, threads: int, deliver: Callable[[Batch], None]) -> None:
        self.name = name
        self.engine = engine
        self._deliver = deliver
        self._queue = FairQueue()
        self._changed = threading.Condition()
        self._closing = False
        self._running = 0
        self._sizes: Counter[int] = Counter()
        self._failures = 0
        self._audio_seconds = self._decode_seconds = 0.0
        self._classes = [0] * (len(DECODE_BOUNDS) + 1)
        self._threads = [
            threading.Thread(target=self._run, name=f"echoic-{name}-{number}", daemon=True)
            for number in range(max(1, min(engine.threads, threads)))
        ]

    def start(self) -> None:
        """Start decoding."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Let ``job`` be decoded when its turn comes.

        Raises:
            ValueError: A job of this client with this key already waits.
        """
        with self._changed:
            self._queue.put(job)
            self._changed.notify()

    def drop(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget those of the client's jobs that have not begun."""
        with self._changed:
            self._queue.drop(client, keys)

    def leave(self, client: Hashable) -> None:
        """Forget all jobs of the client that have not begun."""
        with self._changed:
            self._queue.leave(client)

    def load(self) -> ModelLoad:
        """Return what there is to do and what was done, as of one moment."""
        with self._changed:
            return ModelLoad(
                model=self.name,
                queued_finals=self._queue.finals,
                queued_partials=self._queue.partials,
                running=self._running,
                batches=self._sizes.total(),
                batch_sizes=dict(self._sizes),
                windows=sum(size * count for size, count in self._sizes.items()),
                failures=self._failures,
                audio_seconds=self._audio_seconds,
                decode_seconds=self._decode_seconds,
                decode_classes=tuple(self._classes),
            )

    def stop(self, *, finish: bool) -> None:
        """Let the threads end; what is being decoded is delivered either way.

        Args:
            finish: True: after what waits is decoded; False: forget it.
        """
        with self._changed:
            self._closing = True
            if not finish:
                self._queue = FairQueue()
            self._changed.notify_all()

    def join(self, patience: float) -> bool:
        """Wait for the threads to end after ``stop``, close the engine; return whether they ended in time.

        A thread that hangs in the engine is left behind (it is a daemon), and the engine stays open under it.

        Args:
            patience: Seconds to wait for the threads, altogether.
        """
        deadline = time.monotonic() + patience
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended and isinstance(raised := attempt(self.engine.close), Raised):
            _warn("engine_close_failed", self.name, raised.error)
        return ended

    def _run(self) -> None:
        while self._work():
            pass

    def _work(self) -> bool:
        """Decode and deliver what has gathered; return whether to go on.

        A thread that waits for the next jobs holds on to none: they name their clients.
        """
        jobs = self._take()
        if not jobs:
            return False
        began = time.perf_counter()
        outcomes = decode_all(self.engine, jobs)
        self._count(jobs, outcomes, time.perf_counter() - began)
        self._deliver(Batch(jobs, outcomes))
        return True

    def _take(self) -> list[Job]:
        """Wait for jobs and return what has gathered; nothing if the worker closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._queue))
            jobs = self._queue.take(max(1, self.engine.lanes))
            self._running += len(jobs)
            return jobs

    def _count(
        self, jobs: Sequence[Job], outcomes: Sequence[Hypothesis | DecodeFailed], seconds: float
    ) -> None:
        failed = [outcome for outcome in outcomes if isinstance(outcome, DecodeFailed)]
        with self._changed:
            self._running -= len(jobs)
            self._sizes[len(jobs)] += 1
            self._failures += len(failed)
            self._audio_seconds += sum(job.window.audio.size / job.window.sample_rate for job in jobs)
            self._decode_seconds += seconds
            self._classes[bisect_left(DECODE_BOUNDS, seconds)] += 1
        for failure in failed:
            _warn("decode_failed", self.name, failure.__cause__)


def decode_all(engine: Engine, jobs: Sequence[Job]) -> list[Hypothesis | DecodeFailed]:
    """Return one outcome for each job: decoded together, or each alone if that fails.

    So one bad window costs the others nothing but time. A window that was alone already is not tried again
    here; whether to ask once more is for the session to say.
    """
    together = attempt(lambda: _decode(engine, jobs))
    if not isinstance(together, Raised):
        return [*together]
    if len(jobs) > 1:
        return [outcome for job in jobs for outcome in decode_all(engine, [job])]
    failure = DecodeFailed()
    failure.__cause__ = together.error
    return [failure]


def _decode(engine: Engine, jobs: Sequence[Job]) -> list[Hypothesis]:
    hypotheses = engine.decode([job.window for job in jobs])
    if len(hypotheses) != len(jobs):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(jobs)} windows")
    return hypotheses


def _warn(event: str, model: str, cause: BaseException | None) -> None:
    """Log the kind of a foreign error; its text, which may quote what was heard, only when debugging."""
    _log.warning("%s model=%s error=%s", event, model, type(cause).__name__)
    _log.debug("%s model=%s", event, model, exc_info=cause)
