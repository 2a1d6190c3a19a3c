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

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.errors import DecodeFailed, ModelUnavailable
from echoic.interfaces.engine import ModelRequest
from echoic.scheduling.engine_pool import EnginePool
from support.pool import (
    SCRIPTED_REQUEST,
    BlockingHook,
    EngineLoader,
    PoolClient,
    build_decode,
    build_scripted_registry,
    render_outcome,
    wait_for_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.interfaces.engine import Engine, Hypothesis


class ManualTimers:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.pending_calls: dict[int, Callable[[], None]] = {}
        self.seconds: list[float] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> ManualTimer:
        self.seconds.append(seconds)
        number = len(self.seconds)
        self.pending_calls[number] = call
        return ManualTimer(lambda: self.pending_calls.pop(number, None))

    def run_all(self) -> None:
        calls, self.pending_calls = list(self.pending_calls.values()), {}
        for call in calls:
            call()


@dataclass
class ManualTimer:
    cancel: Callable[[], object]


class SlowClosingEngine(ScriptedEngine):
    """An engine that tells when it is closed, and can be made to take its time."""

    def __init__(self, **hooks: Callable[[], None]) -> None:
        super().__init__(word_hooks=hooks)
        self.closed = threading.Event()
        self.allowed: threading.Event | None = None

    def close(self) -> None:
        if self.allowed:
            assert self.allowed.wait(30)
        self.closed.set()


async def test_a_model_that_nobody_has_open_is_unloaded_after_a_while_and_loaded_again() -> None:
    timers, engine = ManualTimers(), SlowClosingEngine()
    load = EngineLoader(engine)
    engines = EnginePool(build_scripted_registry(load), idle_seconds=600, call_later=timers)
    for _ in range(2):
        await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
        await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="bob")
        engines.remove_client("ann")
        assert timers.pending_calls == {}
        engines.remove_client("bob")
        assert engines.loaded_models == ("scripted",)
        timers.run_all()
        assert not engines.loaded_models
        await wait_for_event(engine.closed)
        engine.closed.clear()
    assert (load.load_count, timers.seconds) == (2, [600, 600])
    assert engines.collect_stats() == ()
    await engines.close()


async def test_whoever_opens_a_model_again_in_time_keeps_it() -> None:
    timers, load = ManualTimers(), EngineLoader()
    engines = EnginePool(build_scripted_registry(load), idle_seconds=1, call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    engines.remove_client("ann")
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="bob")
    timers.run_all()
    bob = PoolClient(engines, "bob")
    bob.submit_words(1, "one")
    assert await bob.wait_for_answers(1) == {1: "one"}
    assert load.load_count == 1
    await engines.close()


async def test_a_model_that_is_asked_for_while_it_is_unloaded_is_loaded_after_that() -> None:
    timers, engine = ManualTimers(), SlowClosingEngine()
    load, engine.allowed = EngineLoader(engine), threading.Event()
    engines = EnginePool(build_scripted_registry(load), idle_seconds=1, call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    timers.run_all()
    asking = asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann"))
    while not engines.loading_models:  # noqa: ASYNC110  # rounds of the loop, no time
        await asyncio.sleep(0)
    assert load.load_count == 1
    engine.allowed.set()
    assert (await asking).name == "scripted"
    assert (engine.closed.is_set(), load.load_count, timers.pending_calls) == (True, 2, {})
    await engines.close()


async def test_a_model_with_windows_to_decode_is_not_unloaded() -> None:
    timers, gate = ManualTimers(), BlockingHook()
    engines = EnginePool(
        build_scripted_registry(EngineLoader(SlowClosingEngine(zulu=gate))), idle_seconds=1, call_later=timers
    )
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    ann = PoolClient(engines)
    ann.submit_words(1, "zulu")
    await wait_for_event(gate.reached)
    timers.run_all()
    assert engines.loaded_models == ("scripted",)
    gate.opened.set()
    assert await ann.wait_for_answers(1) == {1: "zulu"}
    await engines.close()
    assert timers.pending_calls == {}


def build_two_models(first: Engine) -> Registry:
    other = ModelSpec("other", "other", "standard", lambda: None, ScriptedEngine)
    return build_scripted_registry(EngineLoader(first), other)


async def test_a_client_that_switched_does_not_keep_the_model_it_had() -> None:
    timers = ManualTimers()
    engines = EnginePool(build_two_models(ScriptedEngine()), idle_seconds=1, call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    await engines.open_model(ModelRequest("other", "standard"), fallback=False, client="ann")
    timers.run_all()
    assert engines.loaded_models == ("other",)
    with pytest.raises(ModelUnavailable):
        await engines.open_model(ModelRequest("nobody's", "standard"), fallback=False, client="ann")
    timers.run_all()
    assert engines.loaded_models == ("other",)
    await engines.close()


async def test_a_client_that_switched_is_answered_what_it_still_asks_of_the_model_before() -> None:
    timers, gate = ManualTimers(), BlockingHook()
    engines = EnginePool(
        build_two_models(ScriptedEngine(word_hooks={"zulu": gate})), idle_seconds=1, call_later=timers
    )
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    said_by: list[str] = []
    every = asyncio.Event()

    def first(_: int, outcome: Hypothesis | DecodeFailed) -> None:
        said_by.append(render_outcome(outcome))
        engines.submit_decode("ann", build_decode(2, "one"), second)

    def second(_: int, outcome: Hypothesis | DecodeFailed) -> None:
        said_by.append(render_outcome(outcome))
        every.set()

    engines.submit_decode("ann", build_decode(1, "zulu"), first)
    await wait_for_event(gate.reached)
    await engines.open_model(ModelRequest("other", "standard"), fallback=False, client="ann")
    gate.opened.set()
    while not every.is_set():
        timers.run_all()
        await asyncio.sleep(0)
    assert said_by == ["zulu", "one"]
    timers.run_all()
    assert engines.loaded_models == ("other",)
    await engines.close()


async def test_the_log_says_what_was_unloaded_and_nothing_of_who_had_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "echoic.scheduling.engine_pool")
    lines: list[tuple[str, object, str]] = []
    stream = contextvars.ContextVar("stream", default="none")

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), getattr(record, "event_values", None), stream.get()))

    lines_of, log = Lines(), logging.getLogger("echoic.scheduling.engine_pool")
    engines = EnginePool(build_scripted_registry(ScriptedEngine), idle_seconds=0.001)
    log.addHandler(lines_of)
    stream.set("ann's")
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    engines.remove_client("ann")
    while engines.loaded_models:  # noqa: ASYNC110  # the loop's own timer is what is looked at
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

    torn = ModelSpec("torn", "torn", "standard", probe, EngineLoader(failures=[OSError()]))
    other = ModelSpec("scripted", "scripted", "standard", probe, ScriptedEngine, languages=languages)
    engines = EnginePool(Registry([torn, other], "scripted"))
    answer = await engines.open_model(ModelRequest("torn", "standard"), fallback=True)
    assert (answer.name, answer.languages) == ("scripted", ("en",))
    assert threading.get_ident() not in threads
    await engines.close()


async def test_a_client_that_went_away_while_its_model_was_loaded_does_not_keep_it() -> None:
    timers, load = ManualTimers(), EngineLoader(finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load), idle_seconds=1, call_later=timers)
    asking = asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann"))
    await wait_for_event(load.started)
    engines.remove_client("ann")
    asking.cancel()
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    while not engines.loaded_models:  # noqa: ASYNC110  # rounds of the loop, no time
        await asyncio.sleep(0)
    timers.run_all()
    assert engines.loaded_models == ()
    await engines.close()


async def test_without_a_time_for_it_no_model_is_unloaded() -> None:
    timers = ManualTimers()
    engines = EnginePool(build_scripted_registry(EngineLoader()), call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    engines.remove_client("ann")
    assert timers.seconds == []
    await engines.close()


async def test_closing_waits_for_what_is_being_unloaded() -> None:
    timers, engine = ManualTimers(), SlowClosingEngine()
    engine.allowed = threading.Event()
    engines = EnginePool(build_scripted_registry(EngineLoader(engine)), idle_seconds=1, call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    timers.run_all()
    closing = asyncio.create_task(engines.close())
    await asyncio.sleep(0)
    assert not closing.done()
    engine.allowed.set()
    await closing
    assert engine.closed.is_set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["open", "leave", "idle", "ask"]), st.integers(0, 2)), max_size=30))
def test_whoever_has_a_model_open_is_answered_whatever_the_others_do(steps: list[tuple[str, int]]) -> None:
    asyncio.run(run_steps(steps))


async def run_steps(steps: list[tuple[str, int]]) -> None:
    timers = ManualTimers()
    engines = EnginePool(build_scripted_registry(ScriptedEngine), idle_seconds=1, call_later=timers)
    clients: dict[int, PoolClient] = {}
    for number, (step, who) in enumerate(steps):
        if step == "open":
            await engines.open_model(SCRIPTED_REQUEST, fallback=False, client=who)
            clients.setdefault(who, PoolClient(engines, who))
        elif step == "leave":
            engines.remove_client(who)
            clients.pop(who, None)
        elif step == "idle":
            timers.run_all()
        elif client := clients.get(who):
            client.submit_words(number, "one")
            assert (await client.wait_for_answers(len(client.answers) + 1))[number] == "one"
        assert not clients or engines.loaded_models
    await engines.close()
