from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from echoic.engines.scripted import ScriptedEngine
from echoic.errors import ModelUnavailable
from echoic.scheduling.engine_pool import EnginePool
from support.scripted_engines import (
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


async def test_results_are_delivered_once_on_the_event_loop() -> None:
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


async def test_finals_of_all_clients_precede_partials() -> None:
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


async def test_a_failure_is_delivered_to_its_client_only() -> None:
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


async def test_a_callback_that_raises_does_not_affect_others() -> None:
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


async def test_a_removed_client_gets_no_result_of_an_old_decode() -> None:
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


async def test_cancelled_decodes_have_no_result() -> None:
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


async def test_an_invalid_decode_is_refused_at_once() -> None:
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
        engines.remove_client("unknown")
        engines.cancel_decodes("unknown", (1,))


async def test_a_thousand_clients_get_their_own_results() -> None:
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


async def test_close_fails_pending_and_later_decodes() -> None:
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


async def test_close_can_finish_pending_decodes() -> None:
    engines = EnginePool(build_scripted_registry(EngineLoader(ScriptedEngine(max_batch_size=1))))
    await engines.open_model(SCRIPTED_REQUEST, fallback=False)
    ann = PoolClient(engines)
    for key in range(20):
        ann.submit_words(key, "one")
    await engines.close(finish=True)
    assert ann.answers == dict.fromkeys(range(20), "one")


async def test_close_does_not_wait_for_a_decode_that_hangs() -> None:
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
