"""What tests of the pool of engines share: loads, gates, clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoic.engines.registry import Registry, Seat
from echoic.engines.scripted import Scripted, draw
from echoic.errors import DecodeFailed
from echoic.schedule.pool import Engines
from echoic.session.effects import Decode, ModelRequest
from echoic.session.window import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

    from echoic.engines.base import Engine
    from echoic.text.hypothesis import Hypothesis

ASKED = ModelRequest("scripted", "standard")


@dataclass
class Loader:
    """Loads what it is given; can be made to fail or to wait, and counts."""

    engine: Engine = field(default_factory=Scripted)
    failures: list[BaseException] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    allowed: threading.Event | None = None
    loads: int = 0

    def __call__(self) -> Engine:
        self.loads += 1
        self.begun.set()
        if self.allowed:
            assert self.allowed.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        return self.engine


@dataclass
class Gate:
    """A hook that tells when it was reached, and waits until it is opened."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)


class Client:
    """Keeps what it is answered, and can wait for it."""

    def __init__(self, engines: Engines, name: Hashable = "ann") -> None:
        self.engines, self.name = engines, name
        self.answers: dict[int, str] = {}
        self._more = asyncio.Event()

    def ask(self, key: int, *words: str, final: bool = True) -> None:
        self.engines.submit(self.name, decode(key, *words, final=final), self.take)

    def take(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        assert key not in self.answers, "answered twice"
        self.answers[key] = said(outcome)
        self._more.set()

    async def wait_for(self, count: int) -> dict[int, str]:
        while len(self.answers) < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 30)
        return self.answers


def said(outcome: Hypothesis | DecodeFailed) -> str:
    if isinstance(outcome, DecodeFailed):
        return "failed"
    return "".join(token.text for token in outcome.committed).strip()


def decode(key: int, *words: str, final: bool = True, model: str = "scripted") -> Decode:
    audio = draw(words)
    return Decode(key, Window(audio, 16_000, 0.0, 0, audio.size, 0, last=True), model, final)


def registry(load: Callable[[], Engine], *more: Seat) -> Registry:
    seat = Seat("scripted", "scripted", "standard", lambda: None, load)
    return Registry([seat, *more], default="scripted")


@contextlib.asynccontextmanager
async def opened(engine: Engine, threads: int = 1) -> AsyncIterator[Engines]:
    engines = Engines(registry(Loader(engine)), threads=threads)
    await engines.open(ASKED, fallback=False)
    try:
        yield engines
    finally:
        await engines.close()


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def raising(error: BaseException) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook
