"""The settings of the section ``[Server]``: the socket, limits of load, TLS, logs and traces."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from echoic.engines.settings import ExpandedPath
from echoic.observability.logging import LogFormat, LogLevel
from echoic.server.settings.fields import MAX_SECONDS, CollectorUrl
from echoic.server.stream.flow_control import WaterMarks


class ServerSettings(BaseModel):
    """The socket, the limits of load, TLS, logs and traces; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description=(
            "The address to listen on. Other addresses than loopback need a key, or `allow_open_network`."
        ),
    )
    port: int = Field(
        default=8000, ge=0, le=65_535, description="The port to listen on; 0 means any free port."
    )
    allow_open_network: bool = Field(
        default=False,
        description="Listen beyond loopback without a key: everyone in the network may use the server.",
    )
    max_sessions: int = Field(
        default=200, ge=1, description="Concurrent streams. Further streams are refused with `server_busy`."
    )
    max_backlog_seconds: float = Field(
        default=30.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "Undecoded audio of one stream above which the server stops reading from it. "
            "[What happens under load](operations.md#load)."
        ),
    )
    low_backlog_seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "Undecoded audio below which the server reads the stream again. Not set: 75 % of the maximum."
        ),
    )
    max_total_backlog_seconds: float = Field(
        default=600.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "Undecoded audio of all streams. Above it, streams with more than their share are not read, "
            "and new streams are refused with `server_busy`."
        ),
    )
    low_total_backlog_seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_SECONDS,
        description="Undecoded audio of all streams below which that ends. Not set: half of the maximum.",
    )
    retry_after_seconds: float = Field(
        default=5.0,
        gt=0,
        le=MAX_SECONDS,
        description="The `retry_after` of a client that is refused with `server_busy`.",
    )
    falling_behind_seconds: float = Field(
        default=4.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "The lag of finals at which a stream gets the warning `falling_behind`. It is over at "
            "half of this."
        ),
    )
    max_audio_rate: float = Field(
        default=30.0,
        ge=0,
        le=100_000,
        description=(
            "Seconds of audio that the server reads from one stream per second, "
            "after a burst of `max_backlog_seconds`; 0 means unlimited."
        ),
    )
    max_messages_per_second: float = Field(
        default=500.0,
        ge=0,
        le=100_000,
        description=(
            "Messages that the server reads from one stream per second, after a burst of twice as "
            "many; 0 means unlimited."
        ),
    )
    send_queue_frames: int = Field(
        default=256,
        ge=1,
        description="Frames queued for a slow client at which the server stops reading from it.",
    )
    send_queue_bytes: int = Field(default=2**20, ge=1024, description="The same limit in bytes.")
    send_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=MAX_SECONDS,
        description="A client that accepts no data for this long is disconnected.",
    )
    idle_timeout_seconds: float = Field(
        default=300.0,
        gt=0,
        le=MAX_SECONDS,
        description="A client that sends nothing for this long is closed with `idle_timeout`.",
    )
    max_stream_seconds: float = Field(
        default=0.0,
        ge=0,
        le=MAX_SECONDS,
        description=(
            "The longest duration of a stream. It then gets its remaining finals and is closed with "
            "`time_limit`; "
            "0 means unlimited."
        ),
    )
    handshake_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=MAX_SECONDS,
        description="The time that a client has to send a complete HTTP request.",
    )
    ping_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "A client that is being read and sends nothing for this long after a ping is disconnected."
        ),
    )
    resume_seconds: float = Field(
        default=30.0,
        ge=0,
        le=600,
        description=(
            "How long a [resumable session](operations.md#lost-connections) waits for its client; "
            "0 means that sessions are not resumable."
        ),
    )
    resume_sessions: int = Field(
        default=64,
        ge=0,
        description="The most sessions that wait at the same time; a further one ends with its connection.",
    )
    resume_bytes: int = Field(
        default=2**20,
        ge=1024,
        description="The size of each session's replay buffer, and of the buffer for frames while it waits.",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, le=MAX_SECONDS, description="How long a shutdown waits for running streams."
    )
    worker_threads: int = Field(
        default=2, ge=1, le=256, description="Decoding threads of each model; a model may allow fewer."
    )
    core_endpoint: bool | None = Field(
        default=None,
        description=(
            "Serve `/core/parakeet/stream`, which needs no key. Not set: only if the server needs no "
            "key either, "
            "so that a reverse proxy on the same machine does not bypass the key."
        ),
    )
    scripted_engine: bool = Field(
        default=False,
        description="For tests and load tests: add the model `scripted`, and treat every sound as speech.",
    )
    tls_cert_file: ExpandedPath | None = Field(
        default=None,
        description=(
            "The server's certificate as PEM, followed by its intermediate certificates. "
            "The server then speaks only `https` and `wss`. It is read at startup: restart for a new one."
        ),
    )
    tls_key_file: ExpandedPath | None = Field(
        default=None,
        description=(
            "The certificate's private key as PEM, without a password. Not set: it is in `tls_cert_file`."
        ),
    )
    log_level: LogLevel = Field(default="info", description="`debug`, `info`, `warning` or `error`.")
    log_format: LogFormat = Field(default="text", description="`text` (key=value) or `json`.")
    traces_endpoint: CollectorUrl = Field(
        default=None,
        repr=False,
        description=(
            "The OTLP/HTTP collector for [traces](operations.md#watching), such as "
            "`http://localhost:4318/v1/traces`; needs the extra `otel`. Not set: no traces."
        ),
    )
    traces_share: float = Field(
        default=1.0, ge=0, le=1, description="The share of streams that are traced, 0 to 1."
    )

    @property
    def backlog_marks(self) -> WaterMarks:
        """The water marks of one stream's undecoded audio, in seconds."""
        return _build_marks(self.max_backlog_seconds, self.low_backlog_seconds, 0.75)

    @property
    def total_backlog_marks(self) -> WaterMarks:
        """The water marks of all streams' undecoded audio, in seconds."""
        return _build_marks(self.max_total_backlog_seconds, self.low_total_backlog_seconds, 0.5)


def _build_marks(high: float, low: float | None, low_share: float) -> WaterMarks:
    return WaterMarks(high, low_share * high if low is None else low)
