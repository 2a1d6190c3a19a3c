from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from echoic.engines.models import build_standard_registry
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import OVERLAP, ScriptedEngine
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import ModelRequest, OpenedModel
from echoic.scheduling.engine_pool import EnginePool
from echoic.scheduling.threads import call_soon_threadsafe
from support.pool import (
    SCRIPTED_REQUEST,
    BlockingHook,
    EngineLoader,
    PoolClient,
    build_decode,
    build_raising_hook,
    build_scripted_registry,
    open_pool,
    wait_for_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable


# ---- opening


async def test_a_model_is_loaded_once_however_many_ask_at_once() -> None:
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
async def test_a_load_that_fails_is_a_refusal_and_may_succeed_later(error: BaseException) -> None:
    load = EngineLoader(failures=[error])
    engines = EnginePool(build_scripted_registry(load))
    with pytest.raises(ModelUnavailable) as refused:
        await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    assert "disk" not in refused.value.message
    assert engines.loading_models == ()
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).name == "scripted"
    assert load.load_count == 2
    await engines.close()


async def test_a_model_that_is_loaded_is_not_looked_for_again() -> None:
    looks: list[None] = []
    seat = ModelSpec("scripted", "scripted", "standard", lambda: looks.append(None), ScriptedEngine)
    engines = EnginePool(Registry([seat], default="scripted"))
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    before = len(looks)
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=True)).name == "scripted"
    assert len(looks) == before
    await engines.close()


async def test_all_who_wait_for_a_load_that_fails_are_refused() -> None:
    load = EngineLoader(failures=[OSError()], finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load))
    asking = [asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False)) for _ in range(5)]
    await wait_for_event(load.started)
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelUnavailable] * 5
    await engines.close()


async def test_a_client_that_goes_away_does_not_take_the_load_from_another() -> None:
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


async def test_with_fallback_the_default_answers_for_a_model_that_is_missing() -> None:
    missing = ModelSpec("whisper", "whisper", "standard", lambda: Unavailable("No wheel."), ScriptedEngine)
    engines = EnginePool(build_scripted_registry(ScriptedEngine, missing))
    answer = await engines.open_model(ModelRequest("whisper", "standard"), fallback=True)
    assert answer.name == "scripted"
    assert "No wheel." in str(answer.fallback_reason)
    with pytest.raises(ModelUnavailable):
        await engines.open_model(ModelRequest("whisper", "standard"), fallback=False)
    await engines.close()


async def test_with_fallback_the_default_answers_for_a_model_that_does_not_load() -> None:
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


async def test_with_fallback_one_after_the_other_is_tried_and_the_first_refusal_is_told() -> None:
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
    for seats in (torn, torn[:1]):
        engines = EnginePool(Registry(seats, "whisper", ("whisper",)))
        with pytest.raises(ModelUnavailable) as refused:
            await engines.open_model(ModelRequest("asked", "standard"), fallback=True)
        assert refused.value.model == "asked"
        await engines.close()


async def test_the_standard_table_gives_an_unknown_name_no_fallback() -> None:
    engines = EnginePool(build_standard_registry(include_scripted=True))
    with pytest.raises(ModelUnavailable, match="no such model"):
        await engines.open_model(ModelRequest("gpt-9", "standard"), fallback=True)
    await engines.close()


# ---- decoding


async def test_an_answer_comes_once_on_the_event_loops_thread_and_not_from_within_submit() -> None:
    async with open_pool(ScriptedEngine()) as engines:
        threads: list[str] = []
        answered = asyncio.Event()

        def done(_key: int, _outcome: object) -> None:
            threads.append(threading.current_thread().name)
            answered.set()

        engines.submit_decode("ann", build_decode(1, "one"), done)
        assert threads == []
        await asyncio.wait_for(answered.wait(), 30)
        assert threads == [threading.current_thread().name]


async def test_finals_of_all_are_answered_before_partials_of_any() -> None:
    gate = BlockingHook()
    async with open_pool(ScriptedEngine(max_batch_size=1, word_hooks={"zulu": gate})) as engines:
        order: list[tuple[str, int]] = []
        finished = asyncio.Event()

        def note(client: str) -> Callable[[int, object], None]:
            def done(key: int, _outcome: object) -> None:
                order.append((client, key))
                if len(order) == 5:
                    finished.set()

            return done

        engines.submit_decode("ann", build_decode(0, "zulu"), note("ann"))
        await wait_for_event(gate.reached)
        engines.submit_decode("ann", build_decode(1, "one", final=False), note("ann"))
        engines.submit_decode("ann", build_decode(2, "one"), note("ann"))
        engines.submit_decode("ann", build_decode(3, "one"), note("ann"))
        engines.submit_decode("bob", build_decode(1, "one"), note("bob"))
        gate.opened.set()
        await asyncio.wait_for(finished.wait(), 30)
        assert order == [("ann", 0), ("ann", 2), ("bob", 1), ("ann", 3), ("ann", 1)]


async def test_a_window_that_fails_is_told_to_its_client_alone() -> None:
    gate = BlockingHook()
    async with open_pool(
        ScriptedEngine(word_hooks={"zulu": gate, "two": build_raising_hook(RuntimeError())})
    ) as engines:
        ann, bob = PoolClient(engines, "ann"), PoolClient(engines, "bob")
        ann.submit_words(0, "zulu")
        await wait_for_event(gate.reached)
        ann.submit_words(1, "one")
        bob.submit_words(1, "two")
        gate.opened.set()
        assert await ann.wait_for_answers(2) == {0: "zulu", 1: "one"}
        assert await bob.wait_for_answers(1) == {1: "failed"}


async def test_an_answer_that_raises_does_not_keep_others_from_theirs() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    gate, error = BlockingHook(), RuntimeError("a fault of a client")
    async with open_pool(ScriptedEngine(word_hooks={"zulu": gate})) as engines:
        ann = PoolClient(engines)
        ann.submit_words(0, "zulu")
        await wait_for_event(gate.reached)
        engines.submit_decode(
            "bob", build_decode(1, "one"), lambda _key, _outcome: build_raising_hook(error)()
        )
        ann.submit_words(1, "one")
        gate.opened.set()
        assert await ann.wait_for_answers(2) == {0: "zulu", 1: "one"}
    assert told == [error]


async def test_a_client_that_left_during_a_decode_hears_nothing_even_under_the_same_key_again() -> None:
    gate = BlockingHook()
    async with open_pool(ScriptedEngine(max_batch_size=1, word_hooks={"zulu": gate})) as engines:
        gone, back = PoolClient(engines), PoolClient(engines)
        gone.submit_words(1, "zulu")
        gone.submit_words(2, "two")
        await wait_for_event(gate.reached)
        engines.remove_client("ann")
        back.submit_words(1, "one")
        gate.opened.set()
        assert await back.wait_for_answers(1) == {1: "one"}
        assert gone.answers == {}


async def test_dropped_keys_are_not_answered_whether_begun_or_not() -> None:
    gate = BlockingHook()
    async with open_pool(ScriptedEngine(max_batch_size=1, word_hooks={"zulu": gate})) as engines:
        ann = PoolClient(engines)
        ann.submit_words(1, "zulu")
        await wait_for_event(gate.reached)
        ann.submit_words(2, "two")
        ann.submit_words(3, "three")
        engines.cancel_decodes("ann", (1, 2, 99))
        gate.opened.set()
        assert await ann.wait_for_answers(1) == {3: "three"}
        assert engines.collect_stats()[0].windows == 2


async def test_what_cannot_be_submitted_is_refused_at_once() -> None:
    gate = BlockingHook()
    async with open_pool(ScriptedEngine(word_hooks={"zulu": gate})) as engines:
        ann = PoolClient(engines)
        with pytest.raises(KeyError):
            engines.submit_decode("ann", build_decode(1, "one", model="whisper"), ann.on_answer)
        ann.submit_words(1, "zulu")
        with pytest.raises(ValueError, match="is pending"):
            ann.submit_words(1, "one")
        gate.opened.set()
        await ann.wait_for_answers(1)
        engines.remove_client("nobody")
        engines.cancel_decodes("nobody", (1,))


async def test_a_thousand_clients_get_their_own_answers_and_nothing_is_lost() -> None:
    words = ("one", "two", "three", "four", "five")
    async with open_pool(ScriptedEngine(max_batch_size=8, max_concurrency=2), max_concurrency=2) as engines:
        clients = [PoolClient(engines, number) for number in range(1_000)]
        for key in range(3):
            for number, client in enumerate(clients):
                client.submit_words(key, words[(number + key) % 5], final=key < 2)
        for client in clients[::10]:
            engines.remove_client(client.name)
        for number, client in enumerate(clients):
            if number % 10:
                assert await client.wait_for_answers(3) == {
                    key: words[(number + key) % 5] for key in range(3)
                }
        left = Counter(len(client.answers) for client in clients[::10])
        assert left == {0: 100}
        load = engines.collect_stats()[0]
        assert (load.queued_finals, load.queued_partials, load.failures) == (0, 0, 0)
        assert 2_700 <= load.windows <= 3_000


# ---- closing


async def test_closing_answers_what_waits_and_what_comes_after_by_a_failure() -> None:
    gate = BlockingHook()
    engines = EnginePool(
        build_scripted_registry(EngineLoader(ScriptedEngine(max_batch_size=1, word_hooks={"zulu": gate})))
    )
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    ann = PoolClient(engines)
    ann.submit_words(1, "zulu")
    ann.submit_words(2, "two")
    await wait_for_event(gate.reached)
    closing = asyncio.create_task(engines.close())
    await asyncio.sleep(0)
    ann.submit_words(3, "three")
    gate.opened.set()
    await closing
    assert await ann.wait_for_answers(3) == {1: "zulu", 2: "failed", 3: "failed"}
    with pytest.raises(ModelUnavailable, match="closing"):
        await engines.open_model(SCRIPTED_REQUEST, fallback=True)
    await engines.close()


async def test_closing_can_finish_what_waits() -> None:
    engines = EnginePool(build_scripted_registry(EngineLoader(ScriptedEngine(max_batch_size=1))))
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    ann = PoolClient(engines)
    for key in range(20):
        ann.submit_words(key, "one")
    await engines.close(finish=True)
    assert ann.answers == dict.fromkeys(range(20), "one")


async def test_a_decode_that_hangs_does_not_keep_the_server_from_closing() -> None:
    gate = BlockingHook()
    engines = EnginePool(
        build_scripted_registry(EngineLoader(ScriptedEngine(word_hooks={"zulu": gate}))), close_timeout=0.0
    )
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    ann = PoolClient(engines)
    ann.submit_words(1, "zulu")
    await wait_for_event(gate.reached)
    await engines.close()
    assert ann.answers == {1: "failed"}
    gate.opened.set()


async def test_a_model_that_is_still_loading_when_all_closes_is_closed_when_it_is_there() -> None:
    closed = threading.Event()

    class Noted(ScriptedEngine):
        def close(self) -> None:
            closed.set()

    load = EngineLoader(Noted(), finish_allowed=threading.Event())
    engines = EnginePool(build_scripted_registry(load), close_timeout=0.0)
    asking = asyncio.create_task(engines.open_model(SCRIPTED_REQUEST, fallback=False))
    await wait_for_event(load.started)
    await engines.close()
    load.finish_allowed.set()  # type: ignore[union-attr]  # given above
    with pytest.raises(ModelUnavailable, match="closing"):
        await asking
    assert closed.is_set()
    assert engines.loaded_models == ()


def test_an_answer_for_a_loop_that_is_closed_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    call_soon_threadsafe(loop, lambda: pytest.fail("nobody listens"))


async def test_where_the_engine_does_not_say_which_languages_it_knows_its_seat_does() -> None:
    seat = ModelSpec(
        "scripted", "scripted", "standard", lambda: None, ScriptedEngine, languages=lambda: ("de", "en")
    )
    engines = EnginePool(Registry([seat], default="scripted"))
    assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).languages == ("de", "en")
    await engines.close()


async def test_the_answer_says_which_languages_the_engine_knows() -> None:
    class English(ScriptedEngine):
        languages = ("en",)

    async with open_pool(English()) as engines:
        assert (await engines.open_model(SCRIPTED_REQUEST, fallback=False)).languages == ("en",)
