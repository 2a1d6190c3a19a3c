"""What is counted, for Prometheus; each server has a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from echoic.errors import ErrorCode
from echoic.wire.frames import ClientFrame, Error, ServerFrame

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

#: Text format of Prometheus.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of streams, frames, audio and errors."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active = Gauge("echoic_streams_active", "Streams that are open.", registry=self.registry)
        self.opened = Counter("echoic_streams", "Streams opened.", registry=self.registry)
        self.audio = Counter("echoic_audio_seconds", "Seconds of audio received.", registry=self.registry)
        self.dropped = Counter(
            "echoic_partials_dropped", "Partials left out for slow clients.", registry=self.registry
        )
        self._refusals = Counter(
            "echoic_quota_refusals", "Streams and audio refused, by quota.", ["quota"], registry=self.registry
        )
        self.store_away = Gauge(
            "echoic_quota_store_away", "1 while the store of quotas is away.", registry=self.registry
        )
        self._errors = Counter("echoic_errors", "Error frames, by code.", ["code"], registry=self.registry)
        self._closes = Counter(
            "echoic_closes", "Streams ended, by close code.", ["code"], registry=self.registry
        )
        frames = Counter(
            "echoic_frames", "Frames, by type and direction.", ["direction", "type"], registry=self.registry
        )
        self._frames = {
            **{kind: frames.labels("in", _wire_name(kind)) for kind in get_args(ClientFrame)},
            **{kind: frames.labels("out", _wire_name(kind)) for kind in get_args(ServerFrame)},
        }
        self._by_code = {code.value: self._errors.labels(code.value) for code in ErrorCode}

    def received(self, frame: ClientFrame) -> None:
        """Count a frame of a client."""
        self._frames[type(frame)].inc()

    def sent(self, frame: ServerFrame) -> None:
        """Count a frame to a client."""
        self._frames[type(frame)].inc()
        if isinstance(frame, Error):
            self._by_code[frame.code].inc()

    def refused(self, quota: str) -> None:
        """Count a refusal by ``daily_minutes`` or ``concurrent_streams``."""
        self._refusals.labels(quota).inc()

    def closed(self, code: int) -> None:
        """Count the end of a stream."""
        self._closes.labels(str(code)).inc()

    def add(self, collector: Collector) -> None:
        """Let ``collector`` tell more at each look."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self.registry)


def _wire_name(kind: type) -> str:
    name = "".join("_" + c.lower() if c.isupper() else c for c in kind.__name__).lstrip("_")
    return "status" if name == "configured" else name
