"""Traces by OpenTelemetry (the extra ``otel``): imported only where they are switched on.

Nothing in them says what was said, in audio or text, or whose it was: only ids as the log has them, models,
durations, sizes and codes. A foreign exception is told by its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind

import echoic
from echoic.server.core_router import CORE_PATH
from echoic.server.traced_engines import TracedEngines
from echoic.server.traced_quotas import TracedQuotas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

    from echoic.engines.registry import Registry
    from echoic.limits.desk import Desk
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend

    Asgi = Callable[[MutableMapping[str, Any], AsgiReceive, AsgiSend], Awaitable[None]]

#: Seconds that a collector may take for what is sent to it.
_PATIENCE: Final = 5


class Traces:
    """The spans of one server, on their way to whoever collects them.

    Args:
        processor: Takes finished spans.
        share: Of all streams, 0 to 1, those that are followed.
    """

    def __init__(self, processor: SpanProcessor, share: float = 1.0) -> None:
        named = Resource({"service.name": "echoic", "service.version": echoic.__version__})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=named.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("echoic", echoic.__version__)

    def engines(self, registry: Registry, *, threads: int, idle: float, hung: float) -> TracedEngines:
        """Return the door to the models, each window and batch of which is followed; see ``Engines``."""
        return TracedEngines(registry, self.tracer, threads=threads, idle=idle, hung=hung)

    def follow_quotas(self, desk: Desk) -> None:
        """Follow the round trips to a store of quotas."""
        desk.store = TracedQuotas(desk.store, self.tracer)

    def close(self) -> None:
        """Send what is left; blocks for as long as a collector may take."""
        self._provider.shutdown()


def traces_to(endpoint: str, share: float) -> Traces:
    """Return traces that go to a collector.

    Args:
        endpoint: Where it takes OTLP over HTTP, usually ``http://…:4318/v1/traces``.
        share: Of all streams, 0 to 1.
    """
    return Traces(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_PATIENCE)), share)


class TracedStreams:
    """ASGI middleware that makes a span of each WebSocket.

    Args:
        app: What it stands before.
        tracer: Makes spans.
        paths: The endpoints; what a client makes up is ``other``.
    """

    def __init__(self, app: Asgi, tracer: Tracer, paths: tuple[str, ...]) -> None:
        self._app = app
        self._tracer = tracer
        self._paths = paths

    async def __call__(self, scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        with self._tracer.start_as_current_span(
            "echoic.stream",
            Context(),  # what a client says of traces does not count
            SpanKind.SERVER,
            {"echoic.endpoint": path},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            await self._app(scope, _noting(span, receive), _noting_close(span, send))


def _noting(span: Span, receive: AsgiReceive) -> AsgiReceive:
    async def received() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            span.set_attribute("echoic.close_code", message.get("code") or 1006)
        return message

    return received


def _noting_close(span: Span, send: AsgiSend) -> AsgiSend:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.close":
            span.set_attribute("echoic.close_code", message.get("code", 1000))
        await send(message)

    return sent


def endpoints(stream_path: str) -> tuple[str, ...]:
    """Return the paths that streams are served at."""
    return (stream_path, CORE_PATH)
