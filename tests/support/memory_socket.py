"""A WebSocket client without a network: speaks ASGI to an application in the same event loop."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Application = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
    ]

STREAM = "/api/v1/audio/stream/transcribe"


class MemorySocket:
    """One connection; an async context manager that leaves without a word unless it was closed.

    Args:
        app: The application.
        path: Of the endpoint.
        headers: Lower-case names.
        query: The query string.
    """

    def __init__(
        self,
        app: Application,
        path: str = STREAM,
        *,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> None:
        self._app = app
        self._scope: Message = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "subprotocols": [],
            "client": ("127.0.0.1", 50_000),
        }
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        #: Clear: the client takes nothing; what the application sends blocks.
        self.reads = asyncio.Event()
        self.reads.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run())
        self._to_app.put_nowait({"type": "websocket.connect"})
        accept = await self._take()
        assert accept["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        await self.ended()

    @property
    def waiting(self) -> int:
        """Messages that the application has not taken yet."""
        return self._to_app.qsize()

    @property
    def unread(self) -> int:
        """Messages of the application that were not taken yet."""
        return self._from_app.qsize()

    def send(self, frame: dict[str, object] | bytes) -> None:
        """Send a frame, or binary audio."""
        key, value = ("bytes", frame) if isinstance(frame, bytes) else ("text", json.dumps(frame))
        self._to_app.put_nowait({"type": "websocket.receive", key: value})

    def send_text(self, text: str) -> None:
        """Send a text message as it is."""
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self, code: int = 1006) -> None:
        """Go away."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})

    async def next(self) -> dict[str, Any]:
        """Return the next frame; a close is ``{"type": "close", "code": …}``."""
        message = await self._take()
        if message["type"] == "websocket.close":
            return {"type": "close", "code": message["code"]}
        assert message["type"] == "websocket.send", message
        frame: dict[str, Any] = json.loads(message["text"])
        return frame

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames up to the first of type ``kind``, which is the last of them."""
        frames = [await self.next()]
        while frames[-1]["type"] != kind:
            assert frames[-1]["type"] != "close", frames
            frames.append(await self.next())
        return frames

    async def ended(self) -> None:
        """Wait until the application is done with this connection."""
        assert self._task is not None
        self.reads.set()
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def _run(self) -> None:
        await self._app(self._scope, self._to_app.get, self._send)

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self._from_app.put_nowait(message)

    async def _take(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await self._from_app.get()
