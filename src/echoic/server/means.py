"""What a stream is given: its client, what all streams share, and how much it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING

from echoic.server.addons import Shared
from echoic.server.marks import Marks, Waters
from echoic.server.outbox import CLOSE_ABNORMAL, Bounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from echoic.schedule.pool import Engines
    from echoic.server.kept import Kept
    from echoic.server.metrics import Metrics
    from echoic.server.outbox import AsgiSend

    AsgiReceive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Disconnected(Exception):
    """The client went away.

    Args:
        code: Its close code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a client is read; 0: as fast as it sends.

    Attributes:
        messages: A second.
        audio: Seconds of audio a second.
    """

    messages: float = 500.0
    audio: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stream may take; times in seconds.

    Attributes:
        backlog: Seconds of audio heard and not yet decoded above which the client is not read, and below
            which it is again.
        idle: A client that says nothing for so long is told ``idle_timeout``.
        closing: An ended stream is cut off if for so long it delivers nothing more of what it heard.
        longest: A stream that lasts so long is told ``time_limit``; 0: it may last forever.
        outbox: How much may wait for a slow client.
        rates: How fast it is read.
        behind: The lag of finals that is told as ``falling_behind``, and at which it is over.
    """

    backlog: Marks = field(default_factory=lambda: Marks(30.0, 22.5))
    idle: float = 300.0
    closing: float = 60.0
    longest: float = 0.0
    outbox: Bounds = field(default_factory=Bounds)
    rates: Rates = field(default_factory=Rates)
    behind: Marks = field(default_factory=lambda: Marks(4.0, 2.0))


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's end of an accepted WebSocket, as ASGI gives it.

    Attributes:
        receive: ASGI's.
        send: ASGI's.
        name: Its id in logs.
    """

    receive: AsgiReceive
    send: AsgiSend
    name: str = field(default_factory=lambda: token_hex(6))

    async def message(self) -> str | bytes:
        """Return the next message.

        Raises:
            Disconnected: There will be none.
        """
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected(message.get("code") or CLOSE_ABNORMAL)
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def putting_back(self, message: str | bytes) -> Peer:
        """Return the same client, whose next message is this one again."""
        again: list[MutableMapping[str, Any]] = [
            {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        ]

        async def receive() -> MutableMapping[str, Any]:
            return again.pop() if again else await self.receive()

        return Peer(receive, self.send, self.name)


@dataclass(frozen=True, slots=True)
class Stay:
    """A stream's place in its server.

    Attributes:
        name: The stream's id, in logs too.
        kept: The sessions that can be taken up again.
        user: Whose stream it is.
        over: Called once, with the close code, when the stream is over.
    """

    name: str
    kept: Kept
    user: str
    over: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Means:
    """What every stream of a server shares.

    Attributes:
        engines: Decode.
        metrics: Count.
        limits: Of each stream.
        waters: What all of them wait for.
    """

    engines: Engines
    metrics: Metrics
    limits: Limits
    addons: Shared = field(default_factory=Shared)
    waters: Waters = field(default_factory=Waters)
