"""The async door to all models of a process."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from echoic.engines.registry import Choice, resolve_name
from echoic.errors import DecodeFailed, ModelUnavailable
from echoic.schedule.blocking import call_on, in_thread
from echoic.schedule.memory import give_back
from echoic.schedule.queue import Job
from echoic.schedule.worker import Care, Raised, Worker, attempt
from echoic.session.effects import ModelAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from typing import Protocol

    from echoic.engines.base import Engine
    from echoic.engines.registry import Registry
    from echoic.schedule.worker import Batch, ModelLoad
    from echoic.session.effects import Decode, ModelRequest
    from echoic.text.hypothesis import Hypothesis

    class Timer(Protocol):
        """What was put off."""

        def cancel(self) -> object:
            """Do not do it."""


_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_GIVEN_UP: Final = "It hangs, and was given up for now. A restart of the server brings it back."


@dataclass(frozen=True, slots=True)
class _Waiting:
    model: str
    job: Job
    done: Callable[[int, Hypothesis | DecodeFailed], None]


class Engines:
    """Loads models once and lets windows of all clients be decoded; for one event loop.

    A client that has opened a model keeps it loaded until it has opened another, or leaves. A model that
    nobody keeps is unloaded after a while, and loaded again for the next who opens it.

    Args:
        registry: The models there are.
        threads: The most threads of one model; its engine may allow fewer.
        patience: Seconds that ``close`` waits for a model's threads, and for models being loaded.
        idle: Seconds after which a model that nobody keeps is unloaded; 0: never.
        hung: Seconds after which a decode is waited for no more, and the model loaded anew.
        after: Puts a call off by so many seconds; None: the event loop does.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        threads: int = 1,
        patience: float = 5.0,
        idle: float = 0.0,
        hung: float = Care().seconds,
        after: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        self._registry = registry
        self._threads = threads
        self._patience = patience
        self._idle, self._after, self._hung = idle, after, hung
        self._workers: dict[str, Worker] = {}
        self._languages: dict[str, tuple[str, ...]] = {}
        self._loads: dict[str, asyncio.Task[Worker]] = {}
        self._unloads: dict[str, asyncio.Task[None]] = {}
        self._keepers: dict[str, set[Hashable]] = {}
        self._timers: dict[str, Timer] = {}
        self._waiting: dict[Hashable, dict[int, _Waiting]] = {}
        self._closed = False

    @property
    def loaded(self) -> tuple[str, ...]:
        """The ids of the models that are ready."""
        return tuple(self._workers)

    @property
    def loading(self) -> tuple[str, ...]:
        """The ids of the models that are being loaded."""
        return tuple(self._loads)

    def snapshot(self) -> tuple[ModelLoad, ...]:
        """Return what each loaded model has to do and has done."""
        return tuple(worker.load() for worker in tuple(self._workers.values()))

    @property
    def given_up(self) -> Mapping[str, str]:
        """Why, in a sentence, by the ids of the models that hang so much that they were given up."""
        return {load.model: _GIVEN_UP for load in self.snapshot() if load.given_up}

    async def open(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None = None
    ) -> ModelAnswer:
        """Return the model that answers ``request``, loaded.

        However many ask for it at once, a model is loaded once. A load that failed is tried again for the
        next who asks.

        Args:
            request: What is asked for.
            fallback: Whether another model may stand in.
            client: Who keeps it loaded, and no longer the one it had before, until it leaves; None: nobody,
                it may be unloaded when it is idle.

        Raises:
            ModelUnavailable: It cannot be had, and with ``fallback`` no other stands in.
        """
        choice = Choice(resolve_name(request.model, request.variant))
        if choice.name not in self._workers:  # what is loaded needs no look at the disk
            choice = await self._aside(
                request.model, lambda: self._registry.resolve(request, fallback=fallback)
            )
        tried: list[str] = []
        first: ModelUnavailable | None = None
        while True:
            try:
                worker = await self._kept(choice.name, client)
                break
            except ModelUnavailable as refusal:
                first = first or refusal
                tried.append(choice.name)
                self._release(client, choice.name)
                stand_in = functools.partial(
                    self._registry.stand_in, choice.name, first, fallback=fallback, tried=tuple(tried)
                )
                choice = await self._aside(choice.name, stand_in)
        self._release(client, *(name for name in self._keepers if name != choice.name))
        languages = self._languages.get(choice.name, ())
        return ModelAnswer(choice.name, worker.engine.needs, choice.fallback, languages)

    def submit(
        self, client: Hashable, decode: Decode, done: Callable[[int, Hypothesis | DecodeFailed], None]
    ) -> None:
        """Let a window be decoded in its turn.

        Args:
            client: Who waits for it.
            decode: The window; its model must be open.
            done: Called once with the key and the outcome, on the event loop and never from within
                ``submit``; not called after ``drop`` or ``leave``.

        Raises:
            KeyError: The model is not open.
            ValueError: The client already waits for a decode with this key.
        """
        worker = self._workers[decode.model]
        job = Job(client, decode.key, decode.window, decode.final)
        mine = self._waiting.setdefault(client, {})
        if decode.key in mine:
            raise ValueError(f"key {decode.key} is already waited for")
        mine[decode.key] = _Waiting(decode.model, job, done)
        if self._closed:
            asyncio.get_running_loop().call_soon(self._answer, job, DecodeFailed())
        else:
            worker.submit(job)

    def drop(self, client: Hashable, keys: Iterable[int]) -> None:
        """Forget these decodes of the client: begun or not, they are not answered."""
        dropped = tuple(keys)
        for worker in self._workers.values():
            worker.drop(client, dropped)
        mine = self._waiting.get(client, {})
        for key in dropped:
            mine.pop(key, None)
        if not mine:
            self._waiting.pop(client, None)

    def leave(self, client: Hashable) -> None:
        """Forget everything of the client; it keeps no model any more."""
        if self._waiting.pop(client, None):
            for worker in self._workers.values():
                worker.leave(client)
        self._release(client, *self._keepers)

    async def close(self, *, finish: bool = False) -> None:
        """Stop all models; may be called twice.

        Every decode still waited for is answered, by ``DecodeFailed`` if need be.

        Args:
            finish: True: first decode what waits, for as long as the patience lasts.
        """
        self._closed = True
        while self._timers:
            self._timers.popitem()[1].cancel()
        for worker in self._workers.values():
            worker.stop(finish=finish)
        if self._loads:
            await asyncio.wait(self._loads.values(), timeout=self._patience)
        await asyncio.gather(*self._unloads.values())
        await asyncio.gather(*map(self._join, self._workers.values()))
        loop = asyncio.get_running_loop()
        for mine in self._waiting.values():
            for waiting in mine.values():
                loop.call_soon(self._answer, waiting.job, DecodeFailed())
        await asyncio.sleep(0)  # lets the loop make those calls

    async def _join(self, worker: Worker) -> None:
        if not await in_thread(lambda: worker.join(self._patience), f"echoic-close-{worker.name}"):
            _event(logging.WARNING, "engine_hangs", model=worker.name)

    async def _kept(self, name: str, client: Hashable | None) -> Worker:
        """Return a model that from now on, before it is loaded even, is kept by ``client``."""
        if client is not None:
            self._keepers.setdefault(name, set()).add(client)
        if name in self._timers:
            self._timers.pop(name).cancel()
        try:
            return await self._worker(name)
        finally:
            self._rest(name)

    def _release(self, client: Hashable | None, *names: str) -> None:
        """Keep these models no longer for the client, if it does."""
        for name in names:
            keepers = self._keepers.get(name, set())
            if client in keepers:
                keepers.remove(client)
                self._rest(name)

    def _rest(self, name: str) -> None:
        """Begin to count the time of a model that nobody keeps."""
        unused = name in self._workers and not self._keepers.get(name) and name not in self._timers
        if unused and self._idle > 0 and not self._closed:
            after = self._after or asyncio.get_running_loop().call_later
            # What is due then is not this client's, so its stream must not stand in the log for it.
            mine = contextvars.Context()
            self._timers[name] = mine.run(after, self._idle, functools.partial(self._unload, name))

    def _unload(self, name: str) -> None:
        """Free a model that nobody kept for so long, unless windows wait for it all the same."""
        del self._timers[name]
        load = self._workers[name].load()
        # A client that switched from it asks for the next of its windows when it is answered the last one.
        awaited = any(one.model == name for mine in self._waiting.values() for one in mine.values())
        if awaited or load.queued_finals or load.queued_partials or load.running:
            self._rest(name)
            return
        worker = self._workers.pop(name)
        worker.stop(finish=False)
        unload = self._unloads[name] = asyncio.get_running_loop().create_task(self._free(worker))
        unload.add_done_callback(lambda _: self._unloads.pop(name))
        _event(logging.INFO, "engine_unloaded", model=name, idle=self._idle)

    async def _free(self, worker: Worker) -> None:
        await self._join(worker)
        await in_thread(give_back, f"echoic-free-{worker.name}")

    async def _worker(self, name: str) -> Worker:
        if self._closed:
            raise _closing(name)
        if name in self._workers:
            if self._workers[name].load().given_up:
                raise ModelUnavailable(name, _GIVEN_UP)
            return self._workers[name]
        if name not in self._loads:
            load = self._loads[name] = asyncio.create_task(self._load(name))
            load.add_done_callback(functools.partial(self._load_ended, name))
        # One client that goes away while it waits must not take the load from the others.
        return await asyncio.shield(self._loads[name])

    async def _load(self, name: str) -> Worker:
        if name in self._unloads:  # never two of one model in memory
            await asyncio.wait({self._unloads[name]})
        engine, languages = await self._aside(name, lambda: self._loaded(name))
        if self._closed:
            attempt(engine.close)
            raise _closing(name)
        loop = asyncio.get_running_loop()
        worker = Worker(
            name,
            engine,
            self._threads,
            lambda batch: call_on(loop, lambda: self._deliver(batch)),
            Care(functools.partial(self._registry.load, name), self._hung),
        )
        worker.start()
        self._workers[name], self._languages[name] = worker, languages
        self._rest(name)
        return worker

    def _loaded(self, name: str) -> tuple[Engine, tuple[str, ...]]:
        """Return a model, loaded, and what it knows; blocks."""
        engine = self._registry.load(name)
        return engine, getattr(engine, "languages", ()) or self._registry.languages(name)

    async def _aside(self, name: str, call: Callable[[], _T]) -> _T:
        """Return what ``call`` returns, made off the event loop: it reads files and imports libraries.

        Raises:
            ModelUnavailable: Whatever it raised, as a refusal of the model ``name``.
        """
        answer = await in_thread(lambda: attempt(call), f"echoic-open-{name}")
        if isinstance(answer, Raised):
            raise _refusal(name, answer.error) from answer.error
        return answer

    def _load_ended(self, name: str, load: asyncio.Task[Worker]) -> None:
        del self._loads[name]
        if not load.cancelled():
            load.exception()  # seen, even if everyone who waited for it has left

    def _deliver(self, batch: Batch) -> None:
        """Answer for each job in a loop callback of its own, so that one that raises harms no other."""
        loop = asyncio.get_running_loop()
        for job, outcome in zip(batch.jobs, batch.outcomes, strict=True):
            loop.call_soon(self._answer, job, outcome)

    def _answer(self, job: Job, outcome: Hypothesis | DecodeFailed) -> None:
        mine = self._waiting.get(job.client)
        waiting = mine.get(job.key) if mine else None
        if mine is None or waiting is None or waiting.job is not job:
            return
        del mine[job.key]
        if not mine:
            del self._waiting[job.client]
        waiting.done(job.key, outcome)


def _event(level: int, name: str, **values: str | float) -> None:
    """Log an event, its values beside it as the server's log writes them."""
    _log.log(level, name, extra={"event_values": values})


def _closing(name: str) -> ModelUnavailable:
    return ModelUnavailable(name, "The server is closing.")


def _refusal(name: str, error: BaseException) -> ModelUnavailable:
    if isinstance(error, ModelUnavailable):
        return ModelUnavailable(error.model, error.reason, error.install)
    _event(logging.WARNING, "engine_load_failed", model=name, error=type(error).__name__)
    return ModelUnavailable(name, "It is installed but could not be loaded.")
