"""Loads and unloads the models of a process and decodes windows with them; the async side of ``Worker``."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from echoic.engines.registry import Registry, ResolvedModel, resolve_model_id
from echoic.errors import DecodeFailed, ModelUnavailable
from echoic.interfaces.engine import Engine, Hypothesis, ModelRequest, OpenedModel
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.health import HealthPolicy
from echoic.scheduling.observer import DecodeObserver
from echoic.scheduling.stats import ModelStats
from echoic.scheduling.threads import (
    Failure,
    attempt_call,
    call_soon_threadsafe,
    run_in_daemon_thread,
    trim_heap,
)
from echoic.scheduling.worker import BatchResult, Worker
from echoic.session.effects import Decode


class CancellableTimer(Protocol):
    """A scheduled call, as ``asyncio.loop.call_later`` returns it."""

    def cancel(self) -> object:
        """Cancel the call."""


_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_UNAVAILABLE_REASON: Final = (
    "It hung or failed again after a reload and was given up. A restart of the server brings it back."
)


@dataclass(frozen=True, slots=True)
class _PendingDecode:
    model: str
    job: DecodeJob
    on_done: Callable[[int, Hypothesis | DecodeFailed], None]


class EnginePool:
    """Loads each model once and decodes the windows of all clients; for one event loop.

    A client that opens a model keeps it loaded until it opens another or is removed. A model without clients
    is unloaded after ``idle_seconds``, and loaded again when it is opened next.

    Args:
        registry: The models.
        max_concurrency: The most threads of one model; its engine may allow fewer.
        close_timeout: Seconds that ``close`` waits for a model's threads, and for models being loaded.
        idle_seconds: Seconds after which a model without clients is unloaded; 0: never.
        hang_seconds: Seconds after which a decode counts as hung (``HealthPolicy.decode_timeout``).
        call_later: Schedules a call, with the delay in seconds; None: the event loop's.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        max_concurrency: int = 1,
        close_timeout: float = 5.0,
        idle_seconds: float = 0.0,
        hang_seconds: float = HealthPolicy().decode_timeout,
        call_later: Callable[[float, Callable[[], None]], CancellableTimer] | None = None,
    ) -> None:
        self._registry = registry
        #: Follows what is opened and decoded from now on.
        self.observer = DecodeObserver()
        self._max_concurrency = max_concurrency
        self._close_timeout = close_timeout
        self._idle_seconds, self._call_later, self._hang_seconds = idle_seconds, call_later, hang_seconds
        self._workers: dict[str, Worker] = {}
        self._languages: dict[str, tuple[str, ...]] = {}
        self._load_tasks: dict[str, asyncio.Task[Worker]] = {}
        self._unload_tasks: dict[str, asyncio.Task[None]] = {}
        self._clients_by_model: dict[str, set[Hashable]] = {}
        self._idle_timers: dict[str, CancellableTimer] = {}
        self._pending: dict[Hashable, dict[int, _PendingDecode]] = {}
        self._is_closed = False

    @property
    def loaded_models(self) -> tuple[str, ...]:
        """The ids of the loaded models."""
        return tuple(self._workers)

    @property
    def loading_models(self) -> tuple[str, ...]:
        """The ids of the models that are being loaded."""
        return tuple(self._load_tasks)

    def collect_stats(self) -> tuple[ModelStats, ...]:
        """Return the backlog and totals of each loaded model."""
        return tuple(worker.collect_stats() for worker in tuple(self._workers.values()))

    @property
    def unavailable_models(self) -> Mapping[str, str]:
        """The reason, as a sentence, for each model that hung or failed again after a reload, by its id."""
        return {stats.model: _UNAVAILABLE_REASON for stats in self.collect_stats() if stats.is_unavailable}

    async def open_model(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None = None
    ) -> OpenedModel:
        """Load the requested model, unless it is loaded, and return it.

        Concurrent calls share one load. A load that failed is tried again by the next call.

        Args:
            request: The requested model.
            fallback: Whether another model may be used if that one is unavailable.
            client: Keeps the model loaded, and releases the model that it kept before; None: the model may be
                unloaded when it is idle.

        Raises:
            ModelUnavailable: The model is unavailable, and so are its fallbacks.
        """
        resolved = ResolvedModel(resolve_model_id(request.model, request.variant))
        if resolved.model_id not in self._workers:  # a loaded model needs no file checks
            resolved = await self._call_in_thread(
                request.model, lambda: self._registry.resolve_model(request, fallback=fallback)
            )
        tried: list[str] = []
        first: ModelUnavailable | None = None
        while True:
            try:
                worker = await self._acquire_worker(resolved.model_id, client)
                break
            except ModelUnavailable as refusal:
                first = first or refusal
                tried.append(resolved.model_id)
                self._release_models(client, resolved.model_id)
                stand_in = functools.partial(
                    self._registry.resolve_fallback,
                    resolved.model_id,
                    first,
                    fallback=fallback,
                    tried=tuple(tried),
                )
                resolved = await self._call_in_thread(resolved.model_id, stand_in)
        self._release_models(client, *(name for name in self._clients_by_model if name != resolved.model_id))
        languages = self._languages.get(resolved.model_id, ())
        requirements = worker.engine.requirements
        opened = OpenedModel(resolved.model_id, requirements, resolved.fallback_reason, languages)
        if client is not None:
            self.observer.on_model_opened(client, opened)
        return opened

    def submit_decode(
        self, client: Hashable, decode: Decode, on_done: Callable[[int, Hypothesis | DecodeFailed], None]
    ) -> None:
        """Queue a window.

        Args:
            client: The session.
            decode: The window; its model must be loaded.
            on_done: Called once with the key and the outcome, on the event loop and never from within
                ``submit_decode``; not called after ``cancel_decodes`` or ``remove_client``.

        Raises:
            KeyError: The model is not loaded.
            ValueError: The client has a pending decode with this key.
        """
        worker = self._workers[decode.model]
        job = DecodeJob(client, decode.key, decode.window, decode.is_final)
        pending = self._pending.setdefault(client, {})
        if decode.key in pending:
            raise ValueError(f"a decode with key {decode.key} is pending")
        pending[decode.key] = _PendingDecode(decode.model, job, on_done)
        self.observer.on_submit(client, decode)
        if self._is_closed:
            asyncio.get_running_loop().call_soon(self._answer_job, job, DecodeFailed())
        else:
            worker.submit_job(job)

    def cancel_decodes(self, client: Hashable, keys: Iterable[int]) -> None:
        """Cancel these decodes of the client: ``on_done`` is not called, even for one that runs already."""
        dropped = tuple(keys)
        for worker in self._workers.values():
            worker.remove_jobs(client, dropped)
        pending = self._pending.get(client, {})
        for key in dropped:
            if pending.pop(key, None) is not None:
                self.observer.on_done(client, key, None)
        if not pending:
            self._pending.pop(client, None)

    def remove_client(self, client: Hashable) -> None:
        """Cancel all decodes of the client and release its model."""
        if pending := self._pending.pop(client, None):
            for worker in self._workers.values():
                worker.remove_client(client)
            for key in pending:
                self.observer.on_done(client, key, None)
        self._release_models(client, *self._clients_by_model)
        self.observer.on_client_removed(client)

    async def close(self, *, finish: bool = False) -> None:
        """Stop all models; may be called twice.

        Every pending decode is answered, by ``DecodeFailed`` if it was not decoded.

        Args:
            finish: True: decode queued windows first, within ``close_timeout``.
        """
        self._is_closed = True
        while self._idle_timers:
            self._idle_timers.popitem()[1].cancel()
        for worker in self._workers.values():
            worker.stop(finish=finish)
        if self._load_tasks:
            await asyncio.wait(self._load_tasks.values(), timeout=self._close_timeout)
        await asyncio.gather(*self._unload_tasks.values())
        await asyncio.gather(*map(self._join_worker, self._workers.values()))
        loop = asyncio.get_running_loop()
        for pending in self._pending.values():
            for decode in pending.values():
                loop.call_soon(self._answer_job, decode.job, DecodeFailed())
        await asyncio.sleep(0)  # lets the loop make those calls

    async def _join_worker(self, worker: Worker) -> None:
        if not await run_in_daemon_thread(
            lambda: worker.join(self._close_timeout), f"echoic-close-{worker.name}"
        ):
            _log_event(logging.WARNING, "engine_hangs", model=worker.name)

    async def _acquire_worker(self, name: str, client: Hashable | None) -> Worker:
        """Return a loaded model that ``client`` keeps from now on, even while it is being loaded."""
        if client is not None:
            self._clients_by_model.setdefault(name, set()).add(client)
        if name in self._idle_timers:
            self._idle_timers.pop(name).cancel()
        try:
            return await self._get_worker(name)
        finally:
            self._start_idle_timer(name)

    def _release_models(self, client: Hashable | None, *names: str) -> None:
        """Release those of these models that the client keeps."""
        for name in names:
            clients = self._clients_by_model.get(name, set())
            if client in clients:
                clients.remove(client)
                self._start_idle_timer(name)

    def _start_idle_timer(self, name: str) -> None:
        """Schedule the unload of a model without clients."""
        is_unused = (
            name in self._workers and not self._clients_by_model.get(name) and name not in self._idle_timers
        )
        if is_unused and self._idle_seconds > 0 and not self._is_closed:
            call_later = self._call_later or asyncio.get_running_loop().call_later
            # An empty context: the log must not name the stream of the client that left last.
            context = contextvars.Context()
            self._idle_timers[name] = context.run(
                call_later, self._idle_seconds, functools.partial(self._unload_model, name)
            )

    def _unload_model(self, name: str) -> None:
        """Unload a model that had no clients for ``idle_seconds``, unless it has windows to decode."""
        del self._idle_timers[name]
        stats = self._workers[name].collect_stats()
        if stats.is_unavailable:  # stays so until the process is restarted
            return
        # A client that switched models submits its next window only when the last one is answered.
        is_awaited = any(one.model == name for pending in self._pending.values() for one in pending.values())
        if is_awaited or stats.queued_finals or stats.queued_partials or stats.running:
            self._start_idle_timer(name)
            return
        worker = self._workers.pop(name)
        worker.stop(finish=False)
        unload = self._unload_tasks[name] = asyncio.get_running_loop().create_task(self._free_worker(worker))
        unload.add_done_callback(lambda _: self._unload_tasks.pop(name))
        _log_event(logging.INFO, "engine_unloaded", model=name, idle=self._idle_seconds)

    async def _free_worker(self, worker: Worker) -> None:
        await self._join_worker(worker)
        await run_in_daemon_thread(trim_heap, f"echoic-free-{worker.name}")

    async def _get_worker(self, name: str) -> Worker:
        if self._is_closed:
            raise _build_closing_error(name)
        if name in self._workers:
            if self._workers[name].collect_stats().is_unavailable:
                raise ModelUnavailable(name, _UNAVAILABLE_REASON)
            return self._workers[name]
        if name not in self._load_tasks:
            load = self._load_tasks[name] = asyncio.create_task(self._load_worker(name))
            load.add_done_callback(functools.partial(self._on_load_ended, name))
        # Shielded: a client that disconnects must not cancel the load for the others.
        return await asyncio.shield(self._load_tasks[name])

    async def _load_worker(self, name: str) -> Worker:
        if name in self._unload_tasks:  # one copy of a model in memory at a time
            await asyncio.wait({self._unload_tasks[name]})
        engine, languages = await self._call_in_thread(name, lambda: self._load_engine(name))
        if self._is_closed:
            attempt_call(engine.close)
            raise _build_closing_error(name)
        loop = asyncio.get_running_loop()
        worker = Worker(
            name,
            engine,
            self._max_concurrency,
            lambda batch: call_soon_threadsafe(loop, lambda: self._deliver_batch(batch)),
            HealthPolicy(functools.partial(self._registry.load_engine, name), self._hang_seconds),
            self.observer,
        )
        worker.start()
        self._workers[name], self._languages[name] = worker, languages
        self._start_idle_timer(name)
        return worker

    def _load_engine(self, name: str) -> tuple[Engine, tuple[str, ...]]:
        """Return the loaded engine and its languages; blocks."""
        engine = self._registry.load_engine(name)
        return engine, getattr(engine, "languages", ()) or self._registry.list_languages(name)

    async def _call_in_thread(self, name: str, call: Callable[[], _T]) -> _T:
        """Run ``call``, which may read files and import libraries, in a thread; return its result.

        Raises:
            ModelUnavailable: ``call`` raised; the error names the model ``name``.
        """
        answer = await run_in_daemon_thread(lambda: attempt_call(call), f"echoic-open-{name}")
        if isinstance(answer, Failure):
            raise _to_unavailable(name, answer.error) from answer.error
        return answer

    def _on_load_ended(self, name: str, load: asyncio.Task[Worker]) -> None:
        del self._load_tasks[name]
        if not load.cancelled():
            load.exception()  # marks it as retrieved, even if all waiting clients have left

    def _deliver_batch(self, batch: BatchResult) -> None:
        """Answer each job in its own loop callback, so that one that raises affects no other."""
        loop = asyncio.get_running_loop()
        for job, outcome in zip(batch.jobs, batch.outcomes, strict=True):
            loop.call_soon(self._answer_job, job, outcome)

    def _answer_job(self, job: DecodeJob, outcome: Hypothesis | DecodeFailed) -> None:
        pending = self._pending.get(job.client)
        decode = pending.get(job.key) if pending else None
        if pending is None or decode is None or decode.job is not job:
            return
        del pending[job.key]
        if not pending:
            del self._pending[job.client]
        self.observer.on_done(job.client, job.key, outcome)
        decode.on_done(job.key, outcome)


def _log_event(level: int, name: str, **values: str | float) -> None:
    """Log an event; the server's log formatter reads its values from ``event_values``."""
    _log.log(level, name, extra={"event_values": values})


def _build_closing_error(name: str) -> ModelUnavailable:
    return ModelUnavailable(name, "The server is closing.")


def _to_unavailable(name: str, error: BaseException) -> ModelUnavailable:
    if isinstance(error, ModelUnavailable):
        return ModelUnavailable(error.model, error.reason, error.install)
    _log_event(logging.WARNING, "engine_load_failed", model=name, error=type(error).__name__)
    return ModelUnavailable(name, "It is installed but could not be loaded.")
