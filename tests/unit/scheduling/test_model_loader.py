from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.models import build_standard_registry
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import OVERLAP, ScriptedEngine
from echoic.errors import DecodeFailed, ModelUnavailable, Unavailable
from echoic.interfaces.engine import Engine, Hypothesis, ModelRequest, OpenedModel
from echoic.scheduling.engine_pool import EnginePool
from support.scripted_engines import (
    SCRIPTED_REQUEST,
    BlockingHook,
    EngineLoader,
    PoolClient,
    build_decode,
    build_scripted_registry,
    open_pool,
    render_outcome,
    wait_for_event,
)


class ManualTimers:
    """Timers that run on demand."""

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
    """Signals when it is closed; can be made to wait before."""

    def __init__(self, **hooks: Callable[[], None]) -> None:
        super().__init__(word_hooks=hooks)
        self.closed = threading.Event()
        self.allowed: threading.Event | None = None

    def close(self) -> None:
        if self.allowed:
            assert self.allowed.wait(30)
        self.closed.set()


async def test_concurrent_requests_share_one_load() -> None:
    load = EngineLoader(ScriptedEngine(OVERLAP), finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load))
    asking = [asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False)) for _ in range(50)]
    await wait_for_event(load.started)
    assert (engines.loaded_models, engines.loading_models) == ((), ("scripted",))
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    assert await asyncio.gather(*asking) == [OpenedModel("scripted", OVERLAP)] * 50
    assert await engines.open_model(SCRIPTED_REQUEST, fallback=False) == OpenedModel("scripted", OVERLAP)
    assert load.load_count == 1
    assert (engines.loaded_models, engines.loading_models) == (("scripted",), ())
    await engines.close()


@pytest.mark.parametrize("error", [OSError("disk"), SystemExit(1), ModelUnavailable("scripted", "Torn.")])
async def test_a_load_that_failed_is_tried_again_by_the_next_request(error: BaseException) -> None:
    load = EngineLoader(failures=[error])
    engines = EnginePool(build_scripted_registry(load))
    with pytest.raises(ModelUnavailable) as refused:
        await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    assert "disk" not in refused.value.message
    assert engines.loading_models == ()
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).name == "scripted"
    assert load.load_count == 2
    await engines.close()


async def test_a_loaded_model_is_not_probed_again() -> None:
    looks: list[None] = []
    spec = ModelSpec("scripted", "scripted", "standard", lambda: looks.append(None), ScriptedEngine)
    engines = EnginePool(Registry([spec], default="scripted"))
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    before = len(looks)
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=True)).name == "scripted"
    assert len(looks) == before
    await engines.close()


async def test_all_waiting_clients_get_the_error_of_a_failed_load() -> None:
    load = EngineLoader(failures=[OSError()], finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load))
    asking = [asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False)) for _ in range(5)]
    await wait_for_event(load.started)
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelUnavailable] * 5
    await engines.close()


async def test_a_client_that_disconnects_does_not_cancel_the_load() -> None:
    load = EngineLoader(finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load))
    leaver, stayer = (
        asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False)) for _ in range(2)
    )
    await wait_for_event(load.started)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    assert (await stayer).name == "scripted"
    assert load.load_count == 1
    await engines.close()


async def test_the_default_replaces_a_missing_model() -> None:
    missing = ModelSpec("whisper", "whisper", "standard", lambda: Unavailable("No wheel."), ScriptedEngine)
    engines = EnginePool(build_scripted_registry(ScriptedEngine, missing))
    answer = await engines.open_model(ModelRequest("whisper", "standard"), fallback=True)
    assert answer.name == "scripted"
    assert "No wheel." in str(answer.fallback_reason)
    with pytest.raises(ModelUnavailable):
        await engines.open_model(ModelRequest("whisper", "standard"), fallback=False)
    await engines.close()


async def test_the_default_replaces_a_model_that_does_not_load() -> None:
    torn = ModelSpec(
        "whisper", "whisper", "standard", lambda: None, EngineLoader(failures=[OSError(), OSError()])
    )
    engines = EnginePool(build_scripted_registry(ScriptedEngine, torn))
    answer = await engines.open_model(ModelRequest("whisper", "standard"), fallback=True)
    assert answer.name == "scripted"
    assert "could not be loaded" in str(answer.fallback_reason)
    with pytest.raises(ModelUnavailable):
        await engines.open_model(ModelRequest("whisper", "standard"), fallback=False)
    await engines.close()


async def test_fallbacks_are_tried_in_order_and_the_first_error_kept() -> None:
    torn = [
        ModelSpec(name, name, "standard", lambda: None, EngineLoader(failures=[OSError() for _ in range(4)]))
        for name in ("asked", "whisper")
    ]
    table = Registry(
        [*torn, ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)],
        "scripted",
        ("whisper",),
    )
    engines = EnginePool(table)
    answer = await engines.open_model(ModelRequest("asked", "standard"), fallback=True)
    assert answer.name == "scripted"
    assert str(answer.fallback_reason).startswith("The model 'asked' is not available here.")
    await engines.close()
    for specs in (torn, torn[:1]):
        engines = EnginePool(Registry(specs, "whisper", ("whisper",)))
        with pytest.raises(ModelUnavailable) as refused:
            await engines.open_model(ModelRequest("asked", "standard"), fallback=True)
        assert refused.value.model == "asked"
        await engines.close()


async def test_an_unknown_name_has_no_fallback() -> None:
    engines = EnginePool(build_standard_registry(include_scripted=True))
    with pytest.raises(ModelUnavailable, match="no such model"):
        await engines.open_model(ModelRequest("gpt-9", "standard"), fallback=True)
    await engines.close()


async def test_a_model_that_loads_during_close_is_closed() -> None:
    closed = threading.Event()

    class ClosingEngine(ScriptedEngine):
        def close(self) -> None:
            closed.set()

    load = EngineLoader(ClosingEngine(), finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load), close_timeout=0.0)
    asking = asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False))
    await wait_for_event(load.started)
    await engines.close()
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    with pytest.raises(ModelUnavailable, match="closing"):
        await asking
    assert closed.is_set()
    assert engines.loaded_models == ()


async def test_languages_are_the_specs_if_the_engine_has_none() -> None:
    spec = ModelSpec(
        "scripted", "scripted", "standard", lambda: None, ScriptedEngine, languages=lambda: ("de", "en")
    )
    engines = EnginePool(Registry([spec], default="scripted"))
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).languages == ("de", "en")
    await engines.close()


async def test_languages_are_the_engines_if_it_has_some() -> None:
    class English(ScriptedEngine):
        languages = ("en",)

    async with open_pool(English()) as engines:
        assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).languages == ("en",)


async def test_an_idle_model_is_unloaded_and_loaded_on_demand() -> None:
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


async def test_opening_an_idle_model_in_time_keeps_it() -> None:
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


async def test_a_model_is_loaded_only_after_it_is_unloaded() -> None:
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


async def test_a_model_with_queued_windows_is_not_unloaded() -> None:
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


async def test_a_client_that_switches_releases_its_old_model() -> None:
    timers = ManualTimers()
    engines = EnginePool(build_two_models(ScriptedEngine()), idle_seconds=1, call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    await engines.open_model(ModelRequest("other", "standard"), fallback=False, client="ann")
    timers.run_all()
    assert engines.loaded_models == ("other",)
    with pytest.raises(ModelUnavailable):
        await engines.open_model(ModelRequest("unknown", "standard"), fallback=False, client="ann")
    timers.run_all()
    assert engines.loaded_models == ("other",)
    await engines.close()


async def test_a_client_that_switches_gets_its_old_models_results() -> None:
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


async def test_the_log_of_an_unload_names_no_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "echoic.scheduling.model_loader")
    lines: list[tuple[str, object, str]] = []
    stream = contextvars.ContextVar("stream", default="none")

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), getattr(record, "event_values", None), stream.get()))

    lines_of, log = Lines(), logging.getLogger("echoic.scheduling.model_loader")
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


async def test_files_are_not_read_on_the_event_loop() -> None:
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


async def test_a_client_removed_during_a_load_does_not_keep_the_model() -> None:
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


async def test_models_stay_loaded_without_an_idle_time() -> None:
    timers = ManualTimers()
    engines = EnginePool(build_scripted_registry(EngineLoader()), call_later=timers)
    await engines.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
    engines.remove_client("ann")
    assert timers.seconds == []
    await engines.close()


async def test_close_waits_for_models_that_are_being_unloaded() -> None:
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
def test_an_open_model_answers_whatever_other_clients_do(steps: list[tuple[str, int]]) -> None:
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
