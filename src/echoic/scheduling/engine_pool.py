"""Opens models and decodes the windows of all clients with them; the asynchronous side of ``Worker``."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from echoic.engines.registry import Registry
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, ModelRequest, OpenedModel
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.health import HealthPolicy
from echoic.scheduling.model_loader import UNAVAILABLE_REASON, CallLater, LoaderLimits, ModelLoader
from echoic.scheduling.observer import DecodeObserver
from echoic.scheduling.stats import ModelStats
from echoic.scheduling.threads import call_soon_threadsafe
from echoic.scheduling.worker import BatchResult, Worker
from echoic.session.effects import Decode


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
        idle_seconds: Seconds after which a model without clients is unloaded. 0 means never.
        hang_seconds: Seconds after which a decode counts as hung (``HealthPolicy.decode_timeout``).
        call_later: Schedules a call, with the delay in seconds. None means that of the event loop.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        max_concurrency: int = 1,
        close_timeout: float = 5.0,
        idle_seconds: float = 0.0,
        hang_seconds: float = HealthPolicy().decode_timeout,
        call_later: CallLater | None = None,
    ) -> None:
        self._registry = registry
        self._max_concurrency, self._hang_seconds = max_concurrency, hang_seconds
        self.observer = DecodeObserver()
        """Follows models and decodes; replace it before the first model is opened."""
        limits = LoaderLimits(close_timeout, idle_seconds)
        self._loader = ModelLoader(registry, self._create_worker, self._is_awaited, limits, call_later)
        self._pending: dict[Hashable, dict[int, _PendingDecode]] = {}
        self._is_closed = False

    @property
    def loaded_models(self) -> tuple[str, ...]:
        """The ids of the loaded models."""
        return tuple(self._loader.workers)

    @property
    def loading_models(self) -> tuple[str, ...]:
        """The ids of the models that are being loaded."""
        return self._loader.loading_models

    def collect_stats(self) -> tuple[ModelStats, ...]:
        """Return the backlog and totals of each loaded model."""
        return tuple(worker.collect_stats() for worker in tuple(self._loader.workers.values()))

    @property
    def unavailable_models(self) -> Mapping[str, str]:
        """The reason, as a sentence, for each model that hung or failed again after a reload, by its id."""
        return {stats.model: UNAVAILABLE_REASON for stats in self.collect_stats() if stats.is_unavailable}

    async def open_model(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None = None
    ) -> OpenedModel:
        """Load the requested model, unless it is loaded, and return it.

        Concurrent calls share one load. A load that failed is tried again by the next call.

        Args:
            request: The requested model.
            fallback: Whether another model may be used if that one is unavailable.
            client: Keeps the model loaded, and releases the model that it kept before. If None, the model may
                be unloaded when it is idle.

        Raises:
            ModelUnavailable: The model is unavailable, and so are its fallbacks.
        """
        opened = await self._loader.open_model(request, fallback=fallback, client=client)
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
        worker = self._loader.workers[decode.model]
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
        for worker in self._loader.workers.values():
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
            for worker in self._loader.workers.values():
                worker.remove_client(client)
            for key in pending:
                self.observer.on_done(client, key, None)
        self._loader.release_client(client)
        self.observer.on_client_removed(client)

    async def close(self, *, finish: bool = False) -> None:
        """Stop all models; may be called twice.

        Every pending decode is answered, by ``DecodeFailed`` if it was not decoded.

        Args:
            finish: True: decode queued windows first, within ``close_timeout``.
        """
        self._is_closed = True
        await self._loader.close(finish=finish)
        loop = asyncio.get_running_loop()
        for pending in self._pending.values():
            for decode in pending.values():
                loop.call_soon(self._answer_job, decode.job, DecodeFailed())
        await asyncio.sleep(0)  # lets the loop make those calls

    def _create_worker(self, name: str, engine: Engine) -> Worker:
        loop = asyncio.get_running_loop()
        return Worker(
            name,
            engine,
            self._max_concurrency,
            lambda batch: call_soon_threadsafe(loop, lambda: self._deliver_batch(batch)),
            HealthPolicy(functools.partial(self._registry.load_engine, name), self._hang_seconds),
            self.observer,
        )

    def _is_awaited(self, model: str) -> bool:
        return any(one.model == model for pending in self._pending.values() for one in pending.values())

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
