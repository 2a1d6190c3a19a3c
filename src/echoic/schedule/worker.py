"""The threads that touch a model."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
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
#: Windows that fail one after the other, and none between that does not, before the engine is loaded anew.
_SICK: Final = 2
#: Seconds from one such load to the next: windows may be bad and the engine well.
_PAUSE: Final = 60.0
#: Threads that hang in the library at the same time before they are replaced no more: each holds an engine.
_MOST_HUNG: Final = 4
#: Seconds between two looks at what the threads are at, at most.
_LOOK: Final = 5.0


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
        given_up: All its threads hang, and what comes fails at once.
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
    given_up: bool = False


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


@dataclass(frozen=True, slots=True)
class Care:
    """What is done for an engine that is not well.

    Attributes:
        load: Loads another in its place; None: it has to do.
        seconds: A decode that takes longer hangs, and is waited for no more.
        loading: Seconds; the same for a load.
        rest: Seconds after which a model that was given up is tried again; twice as many each time it hangs
            again, as that costs another engine's memory.
    """

    load: Callable[[], Engine] | None = None
    seconds: float = 120.0
    loading: float = 120.0
    rest: float = 300.0


@dataclass(slots=True, eq=False)
class _Shift:
    """What one thread is at.

    Attributes:
        jobs: What it decodes.
        loads: It loads the engine anew, before it decodes them (again).
        since: Since when it decodes, or loads.
        again: They hung before, and each is decoded alone now.
        is_over: It hangs, and was left behind.
    """

    jobs: list[Job] = field(default_factory=list)
    loads: bool = False
    since: float = 0.0
    again: bool = False
    is_over: bool = False


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
        threads: The most threads; the engine may allow fewer.
        deliver: Called in a worker's thread with each finished batch; must not raise.
        care: What is done for an engine that hangs or always fails.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        threads: int,
        deliver: Callable[[Batch], None],
        care: Care = Care(),
    ) -> None:
        self.name = name
        self.engine = engine
        self._deliver = deliver
        self._care = care
        self._alone: deque[Job] = deque()
        self._failed_in_row = self._hung = self._hung_loads = 0
        self._hung_at = 0.0
        self._renewed_at: float | None = None
        self._ended = threading.Event()
        self._queue = FairQueue()
        self._changed = threading.Condition()
        self._closing = False
        self._running = 0
        self._sizes: Counter[int] = Counter()
        self._failures = 0
        self._audio_seconds = self._decode_seconds = 0.0
        self._classes = [0] * (len(DECODE_BOUNDS) + 1)
        self._most = max(1, min(engine.threads, threads))
        shifts = [_Shift() for _ in range(self._most)]
        self._numbers = itertools.count()
        self._threads = {shift: self._thread(shift) for shift in shifts}
        self._watch = threading.Thread(target=self._look_after, name=f"echoic-{name}-watch", daemon=True)

    def start(self) -> None:
        """Start decoding."""
        for thread in (*self._threads.values(), self._watch):
            thread.start()

    def submit(self, job: Job) -> None:
        """Let ``job`` be decoded when its turn comes.

        Raises:
            ValueError: A job of this client with this key already waits.
        """
        with self._changed:
            self._queue.put(job)
            self._changed.notify()
        self._fail_if_lost()

    def drop(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget those of the client's jobs that have not begun."""
        with self._changed:
            self._queue.drop(client, keys)
            gone = frozenset(keys)
            self._alone = deque(job for job in self._alone if job.client != client or job.key not in gone)

    def leave(self, client: Hashable) -> None:
        """Forget all jobs of the client that have not begun."""
        with self._changed:
            self._queue.leave(client)
            self._alone = deque(job for job in self._alone if job.client != client)

    def load(self) -> ModelLoad:
        """Return what there is to do and what was done, as of one moment."""
        with self._changed:
            return ModelLoad(
                model=self.name,
                queued_finals=self._queue.finals + len(self._alone),
                queued_partials=self._queue.partials,
                running=self._running,
                batches=self._sizes.total(),
                batch_sizes=dict(self._sizes),
                windows=sum(size * count for size, count in self._sizes.items()),
                failures=self._failures,
                audio_seconds=self._audio_seconds,
                decode_seconds=self._decode_seconds,
                decode_classes=tuple(self._classes),
                given_up=self._is_lost,
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
                self._alone.clear()
            self._changed.notify_all()

    def join(self, patience: float) -> bool:
        """Wait for the threads to end after ``stop``, close the engine; return whether they ended in time.

        A thread that hangs in the engine is left behind (it is a daemon), and the engine stays open under it.

        Args:
            patience: Seconds to wait for the threads, altogether.
        """
        deadline = time.monotonic() + patience
        for thread in tuple(self._threads.values()):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._ended.set()
        ended = not self._is_lost and not any(thread.is_alive() for thread in self._threads.values())
        if ended and isinstance(raised := attempt(self.engine.close), Raised):
            _warn("engine_close_failed", self.name, raised.error)
        return ended

    def _thread(self, shift: _Shift, *, anew: bool = False) -> threading.Thread:
        name = f"echoic-{self.name}-{next(self._numbers)}"
        return threading.Thread(target=self._run, args=(shift, anew), name=name, daemon=True)

    def _run(self, shift: _Shift, anew: bool) -> None:  # noqa: FBT001  # a thread's target has no keywords
        if anew:
            self._renew(shift)
            with self._changed:
                if not self._is_wanted(shift):
                    return
        while self._work(shift):
            pass

    def _work(self, shift: _Shift) -> bool:
        """Decode and deliver what has gathered; return whether to go on.

        A thread that waits for the next jobs holds on to none: they name their clients.
        """
        jobs = self._take(shift)
        if not jobs:
            return False
        began = time.perf_counter()
        outcomes = decode_all(self.engine, jobs)
        if self._is_sick(outcomes) and self._renew(shift):
            outcomes = decode_all(self.engine, jobs)
        if self._count(shift, outcomes, time.perf_counter() - began):
            self._deliver(Batch(jobs, outcomes))
        return not shift.is_over

    def _take(self, shift: _Shift) -> list[Job]:
        """Wait for jobs and return what has gathered; nothing if the worker closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._queue) or self._alone)
            shift.again = bool(self._alone)
            jobs = [self._alone.popleft()] if self._alone else self._queue.take(max(1, self.engine.lanes))
            shift.jobs, shift.since = jobs, time.monotonic()
            self._running += len(jobs)
            return jobs

    # ---- an engine that is not well

    def _is_sick(self, outcomes: Sequence[Hypothesis | DecodeFailed]) -> bool:
        """Return whether it should be loaded anew: it fails whatever it is given."""
        with self._changed:
            if not all(isinstance(outcome, DecodeFailed) for outcome in outcomes):
                self._failed_in_row = 0
                return False
            self._failed_in_row += len(outcomes)
            rested = self._renewed_at is None or time.monotonic() - self._renewed_at >= _PAUSE
            return self._failed_in_row >= _SICK and rested and not self._closing

    def _renew(self, shift: _Shift) -> bool:
        """Load the engine anew; return whether to decode with it. The old one goes when nobody is in it."""
        with self._changed:
            self._renewed_at, self._failed_in_row = time.monotonic(), 0
            if self._care.load is None:
                return False
            shift.loads, shift.since = True, self._renewed_at
        fresh = attempt(self._care.load)
        with self._changed:
            shift.loads, shift.since = False, time.monotonic()
            self._hung_loads -= shift.is_over
            if not isinstance(fresh, Raised):
                self.engine = fresh
        if isinstance(fresh, Raised):
            _warn("engine_reload_failed", self.name, fresh.error)
            return False
        _log.warning("engine_reloaded model=%s", self.name)
        return not shift.is_over

    def _look_after(self) -> None:
        care = self._care
        while not self._ended.wait(min(care.seconds / 4, care.loading / 4, care.rest / 4, _LOOK)):
            with self._changed:
                hung = [shift for shift in self._threads if self._hangs(shift)]
            for shift in hung:
                self._leave_behind(shift)
            with self._changed:
                thread = self._another(anew=True) if self._has_rested() else None
            if thread is not None:
                thread.start()

    def _hangs(self, shift: _Shift) -> bool:
        at_most = self._care.loading if shift.loads else self._care.seconds
        return bool(shift.loads or shift.jobs) and time.monotonic() - shift.since > at_most

    def _leave_behind(self, shift: _Shift) -> None:
        """Go on without a thread that hangs; its windows are tried again, or failed."""
        with self._changed:
            if not self._hangs(shift):  # it came back just now
                return
            jobs, shift.jobs, shift.is_over = shift.jobs, [], True
            del self._threads[shift]
            self._hung += 1
            self._hung_loads += shift.loads
            self._hung_at = time.monotonic()
            self._running -= len(jobs)
            # One that hangs alone costs an engine each time: while another hangs too it is not tried again.
            is_last = shift.again or shift.loads or (len(jobs) == 1 and self._hung > 1)
            failed = [job for job in jobs if is_last or not job.final]
            self._alone.extend(job for job in jobs if job not in failed)
            self._failures += len(failed)
            thread = self._another(anew=not self._hung_loads) if self._hung < _MOST_HUNG else None
            lost = self._is_lost
            self._changed.notify_all()
        _log.error(
            "engine_hangs model=%s windows=%d loading=%s given_up=%s",
            *(self.name, len(jobs), shift.loads, lost),
        )
        if failed:
            self._deliver(Batch(failed, [_hanging() for _ in failed]))
        if thread is not None:
            thread.start()
        self._fail_if_lost()

    def _another(self, *, anew: bool) -> threading.Thread:
        """Return one more thread, to be started, with an engine that is loaded anew or the one there is."""
        shift = _Shift()
        thread = self._threads[shift] = self._thread(shift, anew=anew)
        return thread

    def _has_rested(self) -> bool:
        """Return whether it is time to try again with a thread in the place of one that hangs."""
        if len(self._threads) >= self._most or self._closing:
            return False
        rest = self._care.rest * 2.0 ** max(0, self._hung - _MOST_HUNG)
        return time.monotonic() - self._hung_at >= rest

    def _is_wanted(self, shift: _Shift) -> bool:
        """Return whether a thread goes on; one that was left behind and comes back may have a place again."""
        if shift.is_over:
            self._hung -= 1
            if len(self._threads) < self._most:  # better one that was slow than none
                shift.is_over = False
                self._threads[shift] = threading.current_thread()
        return not shift.is_over

    @property
    def _is_lost(self) -> bool:
        return not self._threads

    def _fail_if_lost(self) -> None:
        """Answer what waits, if the model is given up."""
        with self._changed:
            if not self._is_lost:
                return
            jobs = [*self._alone, *self._queue.take(len(self._queue))]
            self._alone.clear()
            self._failures += len(jobs)
        if jobs:
            self._deliver(Batch(jobs, [_hanging() for _ in jobs]))

    def _count(self, shift: _Shift, outcomes: Sequence[Hypothesis | DecodeFailed], seconds: float) -> bool:
        """Note what a thread did; return False if it was given up, and its windows are another's."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, DecodeFailed)]
        with self._changed:
            if shift.is_over:
                self._is_wanted(shift)
                return False
            jobs, shift.jobs = shift.jobs, []
            self._running -= len(jobs)
            self._sizes[len(jobs)] += 1
            self._failures += len(failed)
            self._audio_seconds += sum(job.window.audio.size / job.window.sample_rate for job in jobs)
            self._decode_seconds += seconds
            self._classes[bisect_left(DECODE_BOUNDS, seconds)] += 1
        for failure in failed:
            _warn("decode_failed", self.name, failure.__cause__)
        return True


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


def _hanging() -> DecodeFailed:
    return DecodeFailed("The engine did not come to an end with this audio.", is_last=True)


def _warn(event: str, model: str, cause: BaseException | None) -> None:
    """Log the kind of a foreign error; its text, which may quote what was heard, only when debugging."""
    _log.warning("%s model=%s error=%s", event, model, type(cause).__name__)
    _log.debug("%s model=%s", event, model, exc_info=cause)
