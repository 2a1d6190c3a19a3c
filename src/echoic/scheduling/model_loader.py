"""Loads each model once, keeps it loaded while clients use it, and unloads it when it is idle."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from echoic.engines.registry import Registry, ResolvedModel, resolve_model_id
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import Engine, ModelRequest, OpenedModel
from echoic.scheduling.threads import Failure, attempt_call, run_in_daemon_thread, trim_heap
from echoic.scheduling.worker import Worker

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

#: Why a model is unavailable after a second incident (``health``).
UNAVAILABLE_REASON: Final = (
    "It hung or failed again after a reload and was given up. A restart of the server brings it back."
)


class CancellableTimer(Protocol):
    """A scheduled call, as ``asyncio.loop.call_later`` returns it."""

    def cancel(self) -> object:
        """Cancel the call."""


#: Schedules a call after a delay in seconds.
CallLater = Callable[[float, Callable[[], None]], CancellableTimer]


@dataclass(frozen=True, slots=True)
class LoaderLimits:
    """The times of a ``ModelLoader``, in seconds."""

    close_timeout: float
    """How long ``close`` waits for a model's threads, and for models that are being loaded."""
    idle_seconds: float
    """After how long a model without clients is unloaded. 0 means never."""


class ModelLoader:
    """Loads and unloads the models of a process; for one event loop.

    A client that opens a model keeps it loaded until it opens another or is released. A model without clients
    is unloaded after ``limits.idle_seconds``, and loaded again when it is opened next.

    Args:
        registry: The models.
        create_worker: Returns a worker for a loaded engine, not started.
        is_awaited: Returns whether a client waits for results of a model.
        limits: Its times.
        call_later: Schedules a call. None means that of the event loop.
    """

    def __init__(
        self,
        registry: Registry,
        create_worker: Callable[[str, Engine], Worker],
        is_awaited: Callable[[str], bool],
        limits: LoaderLimits,
        call_later: CallLater | None = None,
    ) -> None:
        self._registry, self._limits, self._call_later = registry, limits, call_later
        self._create_worker, self._is_awaited = create_worker, is_awaited
        self.workers: dict[str, Worker] = {}
        """The workers of the loaded models, by model id."""
        self._languages: dict[str, tuple[str, ...]] = {}
        self._load_tasks: dict[str, asyncio.Task[Worker]] = {}
        self._unload_tasks: dict[str, asyncio.Task[None]] = {}
        self._clients_by_model: dict[str, set[Hashable]] = {}
        self._idle_timers: dict[str, CancellableTimer] = {}
        self._is_closed = False

    @property
    def loading_models(self) -> tuple[str, ...]:
        """The ids of the models that are being loaded."""
        return tuple(self._load_tasks)

    async def open_model(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None
    ) -> OpenedModel:
        """Load the requested model, unless it is loaded; see ``EnginePool.open_model``."""
        resolved = ResolvedModel(resolve_model_id(request.model, request.variant))
        if resolved.model_id not in self.workers:  # a loaded model needs no file checks
            resolved = await _call_in_thread(
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
                self._release(client, resolved.model_id)
                resolve_fallback = functools.partial(
                    self._registry.resolve_fallback,
                    resolved.model_id,
                    first,
                    fallback=fallback,
                    tried=tuple(tried),
                )
                resolved = await _call_in_thread(resolved.model_id, resolve_fallback)
        self._release(client, *(name for name in self._clients_by_model if name != resolved.model_id))
        languages = self._languages.get(resolved.model_id, ())
        requirements = worker.engine.requirements
        return OpenedModel(resolved.model_id, requirements, resolved.fallback_reason, languages)

    def release_client(self, client: Hashable) -> None:
        """Release the model that the client keeps."""
        self._release(client, *self._clients_by_model)

    async def close(self, *, finish: bool) -> None:
        """Stop all models; may be called twice.

        Args:
            finish: True: decode queued windows first, within ``limits.close_timeout``.
        """
        self._is_closed = True
        while self._idle_timers:
            self._idle_timers.popitem()[1].cancel()
        for worker in self.workers.values():
            worker.stop(finish=finish)
        if self._load_tasks:
            await asyncio.wait(self._load_tasks.values(), timeout=self._limits.close_timeout)
        await asyncio.gather(*self._unload_tasks.values())
        await asyncio.gather(*map(self._join_worker, self.workers.values()))

    # ---- loading

    async def _acquire_worker(self, name: str, client: Hashable | None) -> Worker:
        """Return the worker of a model that ``client`` keeps from now on, even while it is being loaded."""
        if client is not None:
            self._clients_by_model.setdefault(name, set()).add(client)
        if name in self._idle_timers:
            self._idle_timers.pop(name).cancel()
        try:
            return await self._get_worker(name)
        finally:
            self._start_idle_timer(name)

    async def _get_worker(self, name: str) -> Worker:
        if self._is_closed:
            raise _build_closing_error(name)
        if name in self.workers:
            if self.workers[name].collect_stats().is_unavailable:
                raise ModelUnavailable(name, UNAVAILABLE_REASON)
            return self.workers[name]
        if name not in self._load_tasks:
            load = self._load_tasks[name] = asyncio.create_task(self._load_worker(name))
            load.add_done_callback(functools.partial(self._on_load_ended, name))
        # Shielded: a client that disconnects must not cancel the load for the others.
        return await asyncio.shield(self._load_tasks[name])

    async def _load_worker(self, name: str) -> Worker:
        if name in self._unload_tasks:  # one copy of a model in memory at a time
            await asyncio.wait({self._unload_tasks[name]})
        engine, languages = await _call_in_thread(name, lambda: self._load_engine(name))
        if self._is_closed:
            attempt_call(engine.close)
            raise _build_closing_error(name)
        worker = self._create_worker(name, engine)
        worker.start()
        self.workers[name], self._languages[name] = worker, languages
        self._start_idle_timer(name)
        return worker

    def _load_engine(self, name: str) -> tuple[Engine, tuple[str, ...]]:
        """Return the loaded engine and its languages; blocks."""
        engine = self._registry.load_engine(name)
        return engine, getattr(engine, "languages", ()) or self._registry.list_languages(name)

    def _on_load_ended(self, name: str, load: asyncio.Task[Worker]) -> None:
        del self._load_tasks[name]
        if not load.cancelled():
            load.exception()  # marks it as retrieved, even if all waiting clients have left

    # ---- unloading

    def _release(self, client: Hashable | None, *names: str) -> None:
        """Release those of these models that the client keeps."""
        for name in names:
            clients = self._clients_by_model.get(name, set())
            if client in clients:
                clients.remove(client)
                self._start_idle_timer(name)

    def _start_idle_timer(self, name: str) -> None:
        """Schedule the unload of a model without clients."""
        is_unused = (
            name in self.workers and not self._clients_by_model.get(name) and name not in self._idle_timers
        )
        if is_unused and self._limits.idle_seconds > 0 and not self._is_closed:
            call_later = self._call_later or asyncio.get_running_loop().call_later
            # An empty context: the log must not name the stream of the client that left last.
            context = contextvars.Context()
            self._idle_timers[name] = context.run(
                call_later, self._limits.idle_seconds, functools.partial(self._unload_model, name)
            )

    def _unload_model(self, name: str) -> None:
        """Unload a model that had no clients for a while, unless it has windows to decode."""
        del self._idle_timers[name]
        stats = self.workers[name].collect_stats()
        if stats.is_unavailable:  # stays so until the process is restarted
            return
        # A client that switched models submits its next window only when the last one is answered.
        if self._is_awaited(name) or stats.queued_finals or stats.queued_partials or stats.running:
            self._start_idle_timer(name)
            return
        worker = self.workers.pop(name)
        worker.stop(finish=False)
        unload = self._unload_tasks[name] = asyncio.get_running_loop().create_task(self._free_worker(worker))
        unload.add_done_callback(lambda _: self._unload_tasks.pop(name))
        _log_event(logging.INFO, "engine_unloaded", model=name, idle=self._limits.idle_seconds)

    async def _free_worker(self, worker: Worker) -> None:
        await self._join_worker(worker)
        await run_in_daemon_thread(trim_heap, f"echoic-free-{worker.name}")

    async def _join_worker(self, worker: Worker) -> None:
        timeout = self._limits.close_timeout
        if not await run_in_daemon_thread(lambda: worker.join(timeout), f"echoic-close-{worker.name}"):
            _log_event(logging.WARNING, "engine_hangs", model=worker.name)


async def _call_in_thread(name: str, call: Callable[[], _T]) -> _T:
    """Run ``call``, which may read files and import libraries, in a thread; return its result.

    Raises:
        ModelUnavailable: ``call`` raised; the error names the model ``name``.
    """
    answer = await run_in_daemon_thread(lambda: attempt_call(call), f"echoic-open-{name}")
    if isinstance(answer, Failure):
        raise _to_unavailable(name, answer.error) from answer.error
    return answer


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
