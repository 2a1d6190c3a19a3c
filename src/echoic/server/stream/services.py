"""The services that all streams of a server share, and the limits of each stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from echoic.auth.network import AddressList
from echoic.auth.revocation import RevocationMonitor
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.metrics import Metrics
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.stream.addons import AddOnServices
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.flow_control import ReadRates, TotalBacklog, WaterMarks
from echoic.server.stream.outbox import OutboxLimits
from echoic.server.stream.resume import ResumeRegistry
from echoic.server.vocabulary_files import ServerVocabulary


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of one stream; times in seconds."""

    #: Undecoded audio above which nothing more is read from the client, and below which reading resumes.
    backlog: WaterMarks = field(default_factory=lambda: WaterMarks(30.0, 22.5))
    #: A client that sends nothing for this long gets ``idle_timeout``.
    idle_seconds: float = 300.0
    #: An ending stream is cut off when it delivers no further result for this long.
    closing_seconds: float = 60.0
    #: A stream that lasts this long gets ``time_limit``. 0 means no limit.
    max_seconds: float = 0.0
    #: Size of the send queue of a slow client.
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    #: The highest rates at which messages are read from a client.
    rates: ReadRates = field(default_factory=ReadRates)
    #: Lag of finals at which the client gets ``falling_behind``, and at which the stream has recovered.
    lag_marks: WaterMarks = field(default_factory=lambda: WaterMarks(4.0, 2.0))


@dataclass(frozen=True, slots=True)
class StreamHandle:
    """A stream's id and user, and the parts of its server that it belongs to."""

    #: The stream's id, as in the log.
    name: str
    #: The server's registry of resumable sessions.
    resume_registry: ResumeRegistry
    #: The id of the user whose stream it is.
    user: str
    #: Called once, with the close code, when the stream is over.
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
    #: Builds the voice activity detector of a stream. If None, every window is decoded.
    build_detector: Callable[[], VoiceActivityDetector] | None = None
    #: Ends streams whose keys are revoked; None if there is no key store.
    revocation_monitor: RevocationMonitor | None = None
    #: Proxies whose ``X-Forwarded-For`` is trusted.
    trusted_proxies: AddressList = field(default_factory=AddressList)
    #: Registry of the sessions that may be resumed after a lost connection.
    resume_registry: ResumeRegistry = field(default_factory=ResumeRegistry)
    #: The server's own vocabulary, which every session starts with.
    vocabulary: ServerVocabulary = field(default_factory=ServerVocabulary)
