"""The server under test as a program: ``python -m tools.benchmarks.server``.

It is the real server with a recognizer of known cost and three more routes: its current state, a bare
WebSocket that reads messages and answers nothing (the cost of the transport alone), and a WebSocket echo.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from echoic.diarization.models import DEFAULT_DIARIZER
from echoic.engines.models import build_standard_registry
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, DecodeCost, ScriptedEngine
from echoic.engines.settings import EngineSettings
from echoic.interfaces.engine import Hypothesis, Token, Window
from echoic.observability.logging import set_up_logging
from echoic.server.app import build_app
from echoic.server.context import ServerContext
from echoic.server.process import EchoicServer
from echoic.server.settings.groups import Settings
from echoic.server.stream.connection import Connection
from echoic.session.session import Session

STATE_PATH = "/benchmarks/state"
BARE_PATH = "/benchmarks/bare"
ECHO_PATH = "/benchmarks/echo"
_READINGS = {"stateful": STATEFUL, "local_agreement": LOCAL_AGREEMENT}


class FreeEngine(ScriptedEngine):
    """An engine that costs nothing: it returns one word per window and reads no sample."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one word for each window, at the start of its new part."""
        return [_build_hypothesis(window) for window in windows]


def _build_hypothesis(window: Window) -> Hypothesis:
    word = Token(" word", start=window.left_context / window.sample_rate, duration=0.1, confidence=1.0)
    return Hypothesis(committed=(word,))


class BareApp:
    """An ASGI application that accepts a WebSocket and reads it."""

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass


class EchoApp:
    """An ASGI application that accepts a WebSocket and echoes each message."""

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            with suppress(OSError):  # the client is gone; the next message is the disconnect
                await send({**message, "type": "websocket.send"})


def main() -> None:
    """Serve on a free port of the loopback interface until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=("scripted", "free", "embedded", "parakeet"), default="scripted")
    parser.add_argument("--folder", type=Path, help="of the Parakeet, in ONNX")
    parser.add_argument(
        "--contexts", type=float, nargs=2, default=(4.0, 1.0), help="of the Parakeet, seconds"
    )
    parser.add_argument("--reading", choices=tuple(_READINGS), default="stateful")
    parser.add_argument("--batch-cost", type=float, default=0.0, help="seconds")
    parser.add_argument("--threads", type=int, default=1, help="that decode")
    parser.add_argument("--speakers", help="the diarizer; the recogniser's kind")
    given = parser.parse_args()
    preload = {"embedded": "moonshine-tiny-en", "parakeet": "parakeet-onnx"}.get(given.engine, "scripted")
    scripted = preload == "scripted"
    settings = Settings.model_validate(
        {
            "port": 0,
            "scripted_engine": scripted,
            "preload_model": preload,
            "speakers_diarizer": given.speakers or ("scripted" if scripted else DEFAULT_DIARIZER),
            "max_sessions": 5_000,
            "log_level": "error",
        }
    )
    set_up_logging(settings.server.log_level, settings.server.log_format)
    kind = FreeEngine if given.engine == "free" else ScriptedEngine
    engine = kind(
        _READINGS[given.reading],
        max_concurrency=given.threads,
        cost=DecodeCost(batch_seconds=given.batch_cost),
    )
    seat = ModelSpec("scripted", "scripted", "standard", lambda: None, lambda: engine)
    left, right = given.contexts
    wishes = EngineSettings(
        parakeet_onnx_dir=given.folder, parakeet_left_context=left, parakeet_right_context=right
    )
    registry = build_standard_registry(wishes, max_concurrency=given.threads)
    app = build_app(settings, Registry([seat], "scripted") if scripted else registry)
    app.router.routes.append(Route(STATE_PATH, _report_state))
    app.router.routes.insert(0, WebSocketRoute(BARE_PATH, BareApp()))
    app.router.routes.insert(0, WebSocketRoute(ECHO_PATH, EchoApp()))
    EchoicServer(app, settings).run([socket.create_server((settings.server.host, 0), backlog=2048)])


async def _report_state(request: Request) -> JSONResponse:
    """Answer with the current numbers of sessions, windows and tasks."""
    context: ServerContext = request.app.state.context
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    load = context.services.engines.collect_stats()
    return JSONResponse(
        {
            "streams": len(context.services.streams),
            "sessions": kinds.count(Session),
            "connections": kinds.count(Connection),
            "queued": sum(one.queued_finals + one.queued_partials for one in load),
            "running": sum(one.running for one in load),
            "tasks": len(asyncio.all_tasks()),
        }
    )


if __name__ == "__main__":
    main()
