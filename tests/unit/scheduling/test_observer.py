from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from echoic.engines.scripted import ScriptedEngine
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Hypothesis, OpenedModel, Window
from echoic.scheduling.engine_pool import EnginePool
from echoic.scheduling.observer import DecodeObserver
from echoic.session.effects import Decode
from support.scripted_engines import (
    SCRIPTED_REQUEST,
    EngineLoader,
    PoolClient,
    build_scripted_registry,
    open_pool,
)


def test_the_base_class_observes_nothing() -> None:
    observer = DecodeObserver()
    observer.on_client_removed("ann")
    observer.on_done("ann", 1, None)
    with observer.observe_batch("scripted", []) as value:
        assert value is None


class RecordingObserver(DecodeObserver):
    """Keeps the names of all events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_model_opened(self, client: Hashable, opened: OpenedModel) -> None:
        self.events.append(f"{client} opened {opened.name}")

    def on_submit(self, client: Hashable, decode: Decode) -> None:
        self.events.append(f"{client} submitted {decode.key}")

    def on_done(self, client: Hashable, key: int, outcome: Hypothesis | DecodeFailed | None) -> None:
        self.events.append(f"{client} done {key} {type(outcome).__name__}")

    def on_client_removed(self, client: Hashable) -> None:
        self.events.append(f"{client} removed")

    @contextmanager
    def observe_batch(self, model: str, windows: Sequence[Window]) -> Iterator[None]:
        self.events.append(f"{model} began {len(windows)}")
        yield
        self.events.append(f"{model} ended {len(windows)}")


async def test_an_observer_sees_cancelled_decodes() -> None:
    async with open_pool(ScriptedEngine()) as pool:
        observer = RecordingObserver()
        client = PoolClient(pool)
        pool.observer = observer
        await pool.open_model(SCRIPTED_REQUEST, fallback=False, client="ann")
        client.submit_words(1, "alpha")
        pool.cancel_decodes("ann", [1, 2])
        pool.remove_client("ann")
    assert [event for event in observer.events if event.startswith("ann")] == [
        "ann opened scripted",
        "ann submitted 1",
        "ann done 1 NoneType",
        "ann removed",
    ]


async def test_an_observer_sees_each_batch_and_outcome() -> None:
    observer = RecordingObserver()
    pool = EnginePool(build_scripted_registry(EngineLoader(ScriptedEngine())))
    pool.observer = observer
    await pool.open_model(SCRIPTED_REQUEST, fallback=False)
    client = PoolClient(pool)
    client.submit_words(1, "alpha")
    await client.wait_for_answers(1)
    await pool.close()
    assert observer.events == [
        "ann submitted 1",
        "scripted began 1",
        "scripted ended 1",
        "ann done 1 Hypothesis",
    ]
