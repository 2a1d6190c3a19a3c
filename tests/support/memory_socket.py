"""A WebSocket client without a network: an ASGI connection to an application in the same event loop."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from echoic.protocol.constants import STREAM_PATH
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    AsgiMessage = MutableMapping[str, Any]
    AsgiApplication = Callable[
        [AsgiMessage, Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]],
        Awaitable[None],
    ]


class MemorySocket:
    """One connection; an async context manager that disconnects without a close frame at its end.

    Args:
        app: The application.
        path: Of the endpoint.
        headers: Lower-case names.
        query: The query string.
    """

    def __init__(
        self,
        app: AsgiApplication,
        path: str = STREAM_PATH,
        *,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> None:
        self._app = app
        self._scope: AsgiMessage = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "subprotocols": [],
            "client": ("127.0.0.1", 50_000),
        }
        self._to_app: asyncio.Queue[AsgiMessage] = asyncio.Queue()
        self._from_app: asyncio.Queue[AsgiMessage] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        #: While it is clear, the client reads nothing and the application's sends block.
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run_app())
        self._to_app.put_nowait({"type": "websocket.connect"})
        accept = await self._receive_message()
        assert accept["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        await self.wait_until_ended()

    @property
    def undelivered_count(self) -> int:
        """Messages to the application that it has not read yet."""
        return self._to_app.qsize()

    @property
    def unread_count(self) -> int:
        """Messages from the application that the client has not read yet."""
        return self._from_app.qsize()

    def send(self, frame: dict[str, object] | bytes) -> None:
        """Send a frame, or binary audio."""
        key, value = ("bytes", frame) if isinstance(frame, bytes) else ("text", json.dumps(frame))
        self._to_app.put_nowait({"type": "websocket.receive", key: value})

    def send_text(self, text: str) -> None:
        """Send a text message as it is."""
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    def disconnect(self, code: int = 1006) -> None:
        """Disconnect."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})

    async def receive_frame(self) -> dict[str, Any]:
        """Return the next frame; a close is ``{"type": "close", "code": …}``."""
        message = await self._receive_message()
        if message["type"] == "websocket.close":
            return {"type": "close", "code": message["code"]}
        assert message["type"] == "websocket.send", message
        frame: dict[str, Any] = json.loads(message["text"])
        return frame

    async def receive_until(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames up to the first of type ``kind``, which is the last of them."""
        frames = [await self.receive_frame()]
        while frames[-1]["type"] != kind:
            assert frames[-1]["type"] != "close", frames
            frames.append(await self.receive_frame())
        return frames

    async def wait_until_ended(self) -> None:
        """Wait until the application is done with this connection."""
        assert self._task is not None
        self.may_read.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await self._task

    async def _run_app(self) -> None:
        await self._app(self._scope, self._to_app.get, self._send_from_app)

    async def _send_from_app(self, message: AsgiMessage) -> None:
        await self.may_read.wait()
        self._from_app.put_nowait(message)

    async def _receive_message(self) -> AsgiMessage:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._from_app.get()
