"""The client of a stream, the services that all streams of a server share, and the limits of one stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

from starlette.types import Message, Receive, Send

from echoic.auth.network import AddressList
from echoic.auth.revocation import RevocationMonitor
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.metrics import Metrics
from echoic.protocol.constants import CLOSE_ABNORMAL
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.stream.addons import AddOnServices
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.flow_control import TotalBacklog, WaterMarks
from echoic.server.stream.outbox import OutboxLimits
from echoic.server.stream.resume import ResumableSessions
from echoic.server.vocabulary_files import ServerVocabulary


class PeerDisconnected(Exception):
    """The client went away.

    Args:
        code: Its close code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class ReadRates:
    """How fast a client is read; 0: as fast as it sends.

    Attributes:
        messages_per_second: A second.
        audio_per_second: Seconds of audio a second.
    """

    messages_per_second: float = 500.0
    audio_per_second: float = 30.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one stream may take; times in seconds.

    Attributes:
        backlog: Seconds of audio heard and not yet decoded above which the client is not read, and below
            which it is again.
        idle_seconds: A client that says nothing for so long is told ``idle_timeout``.
        closing_seconds: An ended stream is cut off if for so long it delivers nothing more of what it heard.
        max_seconds: A stream that lasts so long is told ``time_limit``; 0: it may last forever.
        outbox: How much may wait for a slow client.
        rates: How fast it is read.
        lag_marks: The lag of finals that is told as ``falling_behind``, and at which it is over.
    """

    backlog: WaterMarks = field(default_factory=lambda: WaterMarks(30.0, 22.5))
    idle_seconds: float = 300.0
    closing_seconds: float = 60.0
    max_seconds: float = 0.0
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    rates: ReadRates = field(default_factory=ReadRates)
    lag_marks: WaterMarks = field(default_factory=lambda: WaterMarks(4.0, 2.0))


@dataclass(frozen=True, slots=True)
class WebSocketPeer:
    """The client's end of an accepted WebSocket, as ASGI gives it.

    Attributes:
        receive: ASGI's.
        send: ASGI's.
        name: Its id in logs.
    """

    receive: Receive
    send: Send
    name: str = field(default_factory=lambda: token_hex(6))

    async def receive_message(self) -> str | bytes:
        """Return the next message.

        Raises:
            Disconnected: There will be none.
        """
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            raise PeerDisconnected(message.get("code") or CLOSE_ABNORMAL)
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def with_pending_message(self, message: str | bytes) -> WebSocketPeer:
        """Return the same client, whose next message is this one again."""
        again: list[Message] = [
            {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        ]

        async def receive() -> Message:
            return again.pop() if again else await self.receive()

        return WebSocketPeer(receive, self.send, self.name)


@dataclass(frozen=True, slots=True)
class StreamSlot:
    """A stream's place in its server.

    Attributes:
        name: The stream's id, in logs too.
        resumable_sessions: The sessions that can be taken up again.
        user: Whose stream it is.
        on_closed: Called once, with the close code, when the stream is over.
    """

    name: str
    resumable_sessions: ResumableSessions
    user: str
    on_closed: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StreamServices:
    """The services that all streams of a server share."""

    #: Decodes the windows of the streams.
    engines: EnginePool
    #: Counts what the streams do.
    metrics: Metrics
    #: The limits of each stream.
    limits: StreamLimits
    #: The open streams; admits new ones.
    streams: StreamAdmission
    #: Diarization, insights and recordings.
    addons: AddOnServices = field(default_factory=AddOnServices)
    #: The undecoded audio of all streams.
    total_backlog: TotalBacklog = field(default_factory=TotalBacklog)
    #: Builds the voice-activity detector of a stream; None: every window is decoded.
    build_vad: Callable[[], VoiceActivityDetector] | None = None
    #: Ends streams whose keys are revoked; None: there is no key store.
    revocation_monitor: RevocationMonitor | None = None
    #: Proxies whose ``X-Forwarded-For`` is trusted.
    trusted_proxies: AddressList = field(default_factory=AddressList)
    #: Sessions that lost their connection and may be resumed.
    resumable_sessions: ResumableSessions = field(default_factory=ResumableSessions)
    #: The server's own vocabulary, which every session starts with.
    vocabulary: ServerVocabulary = field(default_factory=ServerVocabulary)
