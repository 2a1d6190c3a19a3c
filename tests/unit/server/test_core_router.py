from __future__ import annotations

from fastapi import FastAPI

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import PlateauDetector, ScriptedEngine, draw_words
from echoic.errors import Unavailable
from echoic.server.core_router import core_router
from echoic.server.settings.groups import SpeakerSettings
from support.memory_socket import MemorySocket

CORE = "/core/parakeet/stream"


def build_test_registry() -> Registry:
    gone = ModelSpec(
        "parakeet-standard", "parakeet", "standard", lambda: Unavailable("It is not here."), ScriptedEngine
    )
    return Registry(
        [gone, ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)], "scripted"
    )


async def test_an_application_that_includes_the_router_serves_streams() -> None:
    app = FastAPI()

    @app.get("/own")
    def own() -> str:
        return "mine"

    app.include_router(core_router(build_test_registry(), PlateauDetector), prefix="/speech")
    async with app.router.lifespan_context(app), MemorySocket(app, "/speech" + CORE) as socket:
        socket.send({"type": "config", "model": "scripted"})
        assert (await socket.receive_until("status"))[-1]["active_model"] == "scripted"
        socket.send(draw_words(["one", "two"]).tobytes())
        socket.send({"type": "stop"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == "one two"
        assert await socket.receive_frame() == {"type": "close", "code": 1000}


async def test_the_core_endpoint_never_falls_back() -> None:
    app = FastAPI()
    app.include_router(core_router(build_test_registry()))
    async with app.router.lifespan_context(app), MemorySocket(app, CORE) as socket:
        socket.send({"type": "config", "model": "parakeet"})
        error = await socket.receive_frame()
        assert (error["code"], error["reason"]) == ("model_unavailable", "It is not here.")
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}


async def test_the_router_serves_again_after_a_restart() -> None:
    app = FastAPI()
    app.include_router(core_router(build_test_registry()))
    for _ in range(2):
        async with app.router.lifespan_context(app), MemorySocket(app, CORE) as socket:
            socket.send({"type": "config", "model": "scripted"})
            assert (await socket.receive_frame())["state"] == "configured"


async def test_only_own_loopback_and_allowed_origins_are_served() -> None:
    app = FastAPI()
    app.include_router(core_router(build_test_registry(), allowed_origins="https://friend.example"))
    async with app.router.lifespan_context(app):
        for origin, answer in (
            ("https://app.example", "pong"),
            ("https://friend.example", "pong"),
            ("http://localhost:3000", "pong"),
            ("https://evil.example", "error"),
        ):
            headers = {"host": "app.example", "origin": origin}
            async with MemorySocket(app, CORE, headers=headers) as socket:
                socket.send({"type": "ping"})
                assert (await socket.receive_frame())["type"] == answer


async def test_the_router_offers_diarization_and_insights() -> None:
    app = FastAPI()
    speakers = SpeakerSettings(diarizer="scripted")
    app.include_router(core_router(build_test_registry(), PlateauDetector, speakers=speakers))
    async with app.router.lifespan_context(app), MemorySocket(app, CORE) as socket:
        socket.send({"type": "config", "model": "scripted", "diarization": True, "insights": True})
        socket.send(draw_words(["one", "two"]).tobytes())
        socket.send({"type": "stop"})
        frames = await socket.receive_until("insight")
        assert [frame.get("speaker_id") for frame in frames if frame["type"] == "final"] == [0]
        assert await socket.receive_frame() == {"type": "close", "code": 1000}
