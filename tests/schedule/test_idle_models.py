from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.registry import Registry, Seat
from echoic.engines.scripted import Scripted
from echoic.errors import DecodeFailed, ModelUnavailable
from echoic.schedule.pool import Engines
from echoic.session.effects import ModelRequest
from support.pool import ASKED, Client, Gate, Loader, decode, reached, registry, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.engines.base import Engine
    from echoic.text.hypothesis import Hypothesis


class Timers:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.set: dict[int, Callable[[], None]] = {}
        self.seconds: list[float] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.seconds.append(seconds)
        number = len(self.seconds)
        self.set[number] = call
        return Timer(lambda: self.set.pop(number, None))

    def run_out(self) -> None:
        calls, self.set = list(self.set.values()), {}
        for call in calls:
            call()


@dataclass
class Timer:
    cancel: Callable[[], object]


class Closing(Scripted):
    """An engine that tells when it is closed, and can be made to take its time."""

    def __init__(self, **hooks: Callable[[], None]) -> None:
        super().__init__(hooks=hooks)
        self.closed = threading.Event()
        self.allowed: threading.Event | None = None

    def close(self) -> None:
        if self.allowed:
            assert self.allowed.wait(30)
        self.closed.set()


async def test_a_model_that_nobody_has_open_is_unloaded_after_a_while_and_loaded_again() -> None:
    timers, engine = Timers(), Closing()
    load = Loader(engine)
    engines = Engines(registry(load), idle=600, after=timers)
    for _ in range(2):
        await engines.open(ASKED, fallback=False, client="ann")
        await engines.open(ASKED, fallback=False, client="bob")
        engines.leave("ann")
        assert timers.set == {}
        engines.leave("bob")
        assert engines.loaded == ("scripted",)
        timers.run_out()
        assert not engines.loaded
        await reached(engine.closed)
        engine.closed.clear()
    assert (load.loads, timers.seconds) == (2, [600, 600])
    assert engines.snapshot() == ()
    await engines.close()


async def test_whoever_opens_a_model_again_in_time_keeps_it() -> None:
    timers, load = Timers(), Loader()
    engines = Engines(registry(load), idle=1, after=timers)
    await engines.open(ASKED, fallback=False, client="ann")
    engines.leave("ann")
    await engines.open(ASKED, fallback=False, client="bob")
    timers.run_out()
    bob = Client(engines, "bob")
    bob.ask(1, "one")
    assert await bob.wait_for(1) == {1: "one"}
    assert load.loads == 1
    await engines.close()


async def test_a_model_that_is_asked_for_while_it_is_unloaded_is_loaded_after_that() -> None:
    timers, engine = Timers(), Closing()
    load, engine.allowed = Loader(engine), threading.Event()
    engines = Engines(registry(load), idle=1, after=timers)
    await engines.open(ASKED, fallback=False)
    timers.run_out()
    asking = asyncio.create_task(engines.open(ASKED, fallback=False, client="ann"))
    while not engines.loading:  # noqa: ASYNC110  # rounds of the loop, no time
        await asyncio.sleep(0)
    assert load.loads == 1
    engine.allowed.set()
    assert (await asking).name == "scripted"
    assert (engine.closed.is_set(), load.loads, timers.set) == (True, 2, {})
    await engines.close()


async def test_a_model_with_windows_to_decode_is_not_unloaded() -> None:
    timers, gate = Timers(), Gate()
    engines = Engines(registry(Loader(Closing(zulu=gate))), idle=1, after=timers)
    await engines.open(ASKED, fallback=False)
    ann = Client(engines)
    ann.ask(1, "zulu")
    await reached(gate.reached)
    timers.run_out()
    assert engines.loaded == ("scripted",)
    gate.opened.set()
    assert await ann.wait_for(1) == {1: "zulu"}
    await engines.close()
    assert timers.set == {}


def two_models(first: Engine) -> Registry:
    other = Seat("other", "other", "standard", lambda: None, Scripted)
    return registry(Loader(first), other)


async def test_a_client_that_switched_does_not_keep_the_model_it_had() -> None:
    timers = Timers()
    engines = Engines(two_models(Scripted()), idle=1, after=timers)
    await engines.open(ASKED, fallback=False, client="ann")
    await engines.open(ModelRequest("other", "standard"), fallback=False, client="ann")
    timers.run_out()
    assert engines.loaded == ("other",)
    with pytest.raises(ModelUnavailable):
        await engines.open(ModelRequest("nobody's", "standard"), fallback=False, client="ann")
    timers.run_out()
    assert engines.loaded == ("other",)
    await engines.close()


async def test_a_client_that_switched_is_answered_what_it_still_asks_of_the_model_before() -> None:
    timers, gate = Timers(), Gate()
    engines = Engines(two_models(Scripted(hooks={"zulu": gate})), idle=1, after=timers)
    await engines.open(ASKED, fallback=False, client="ann")
    said_by: list[str] = []
    every = asyncio.Event()

    def first(_: int, outcome: Hypothesis | DecodeFailed) -> None:
        said_by.append(said(outcome))
        engines.submit("ann", decode(2, "one"), second)

    def second(_: int, outcome: Hypothesis | DecodeFailed) -> None:
        said_by.append(said(outcome))
        every.set()

    engines.submit("ann", decode(1, "zulu"), first)
    await reached(gate.reached)
    await engines.open(ModelRequest("other", "standard"), fallback=False, client="ann")
    gate.opened.set()
    while not every.is_set():
        timers.run_out()
        await asyncio.sleep(0)
    assert said_by == ["zulu", "one"]
    timers.run_out()
    assert engines.loaded == ("other",)
    await engines.close()


async def test_the_log_says_what_was_unloaded_and_nothing_of_who_had_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "echoic.schedule.pool")
    lines: list[tuple[str, object, str]] = []
    stream = contextvars.ContextVar("stream", default="none")

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), getattr(record, "event_values", None), stream.get()))

    lines_of, log = Lines(), logging.getLogger("echoic.schedule.pool")
    engines = Engines(registry(Scripted), idle=0.001)
    log.addHandler(lines_of)
    stream.set("ann's")
    await engines.open(ASKED, fallback=False, client="ann")
    engines.leave("ann")
    while engines.loaded:  # noqa: ASYNC110  # the loop's own timer is what is looked at
        await asyncio.sleep(0.001)
    log.removeHandler(lines_of)
    assert lines == [("engine_unloaded", {"model": "scripted", "idle": 0.001}, "none")]
    await engines.close()


async def test_the_disk_is_never_read_on_the_event_loop() -> None:
    threads: set[int] = set()

    def probe() -> None:
        threads.add(threading.get_ident())

    def languages() -> tuple[str, ...]:
        probe()
        return ("en",)

    torn = Seat("torn", "torn", "standard", probe, Loader(failures=[OSError()]))
    other = Seat("scripted", "scripted", "standard", probe, Scripted, languages=languages)
    engines = Engines(Registry([torn, other], "scripted"))
    answer = await engines.open(ModelRequest("torn", "standard"), fallback=True)
    assert (answer.name, answer.languages) == ("scripted", ("en",))
    assert threading.get_ident() not in threads
    await engines.close()


async def test_a_client_that_went_away_while_its_model_was_loaded_does_not_keep_it() -> None:
    timers, load = Timers(), Loader(allowed=threading.Event())
    engines = Engines(registry(load), idle=1, after=timers)
    asking = asyncio.create_task(engines.open(ASKED, fallback=False, client="ann"))
    await reached(load.begun)
    engines.leave("ann")
    asking.cancel()
    load.allowed.set()  # type: ignore[union-attr]  # given above
    while not engines.loaded:  # noqa: ASYNC110  # rounds of the loop, no time
        await asyncio.sleep(0)
    timers.run_out()
    assert engines.loaded == ()
    await engines.close()


async def test_without_a_time_for_it_no_model_is_unloaded() -> None:
    timers = Timers()
    engines = Engines(registry(Loader()), after=timers)
    await engines.open(ASKED, fallback=False, client="ann")
    engines.leave("ann")
    assert timers.seconds == []
    await engines.close()


async def test_closing_waits_for_what_is_being_unloaded() -> None:
    timers, engine = Timers(), Closing()
    engine.allowed = threading.Event()
    engines = Engines(registry(Loader(engine)), idle=1, after=timers)
    await engines.open(ASKED, fallback=False)
    timers.run_out()
    closing = asyncio.create_task(engines.close())
    await asyncio.sleep(0)
    assert not closing.done()
    engine.allowed.set()
    await closing
    assert engine.closed.is_set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["open", "leave", "idle", "ask"]), st.integers(0, 2)), max_size=30))
def test_whoever_has_a_model_open_is_answered_whatever_the_others_do(steps: list[tuple[str, int]]) -> None:
    asyncio.run(play(steps))


async def play(steps: list[tuple[str, int]]) -> None:
    timers = Timers()
    engines = Engines(registry(Scripted), idle=1, after=timers)
    clients: dict[int, Client] = {}
    for number, (step, who) in enumerate(steps):
        if step == "open":
            await engines.open(ASKED, fallback=False, client=who)
            clients.setdefault(who, Client(engines, who))
        elif step == "leave":
            engines.leave(who)
            clients.pop(who, None)
        elif step == "idle":
            timers.run_out()
        elif client := clients.get(who):
            client.ask(number, "one")
            assert (await client.wait_for(len(client.answers) + 1))[number] == "one"
        assert not clients or engines.loaded
    await engines.close()
