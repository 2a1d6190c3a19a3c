"""Scripted engines that block or fail, pools of them, and clients of a pool."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, ModelRequest, Window
from echoic.scheduling.engine_pool import EnginePool
from echoic.session.effects import Decode

SCRIPTED_REQUEST = ModelRequest("scripted", "standard")


@dataclass
class EngineLoader:
    """Loads an engine; can fail or block, and counts its calls."""

    engine: Engine = field(default_factory=ScriptedEngine)
    failures: list[BaseException] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    finish_allowed: threading.Event | None = None
    load_count: int = 0

    def __call__(self) -> Engine:
        self.load_count += 1
        self.started.set()
        if self.finish_allowed:
            assert self.finish_allowed.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        return self.engine


@dataclass
class BlockingHook:
    """A hook that sets an event when it is called, and blocks until it is opened."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)


class PoolClient:
    """Collects results by key, and can wait for them."""

    def __init__(self, pool: EnginePool, name: Hashable = "ann") -> None:
        self.pool, self.name = pool, name
        self.answers: dict[int, str] = {}
        self._answer_arrived = asyncio.Event()

    def submit_words(self, key: int, *words: str, final: bool = True) -> None:
        self.pool.submit_decode(self.name, build_decode(key, *words, final=final), self.on_answer)

    def on_answer(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        assert key not in self.answers, "answered twice"
        self.answers[key] = render_outcome(outcome)
        self._answer_arrived.set()

    async def wait_for_answers(self, count: int) -> dict[int, str]:
        while len(self.answers) < count:
            self._answer_arrived.clear()
            await asyncio.wait_for(self._answer_arrived.wait(), 30)
        return self.answers


def render_outcome(outcome: Hypothesis | DecodeFailed) -> str:
    if isinstance(outcome, DecodeFailed):
        return "failed"
    return "".join(token.text for token in outcome.committed).strip()


def build_decode(key: int, *words: str, final: bool = True, model: str = "scripted") -> Decode:
    audio = draw_words(words)
    return Decode(key, Window(audio, 16_000, 0.0, 0, audio.size, 0, is_last=True), model, final)


def build_scripted_registry(load: Callable[[], Engine], *more: ModelSpec) -> Registry:
    spec = ModelSpec("scripted", "scripted", "standard", lambda: None, load)
    return Registry([spec, *more], default="scripted")


@contextlib.asynccontextmanager
async def open_pool(engine: Engine, max_concurrency: int = 1) -> AsyncIterator[EnginePool]:
    engines = EnginePool(build_scripted_registry(EngineLoader(engine)), max_concurrency=max_concurrency)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    try:
        yield engines
    finally:
        await engines.close()


async def wait_for_event(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def build_raising_hook(error: BaseException) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook
