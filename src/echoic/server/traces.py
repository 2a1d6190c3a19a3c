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
from echoic.server.traced_engines import TracedEnginePool
from echoic.server.traced_quotas import TracedQuotaStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

    from echoic.engines.registry import Registry
    from echoic.limits.desk import QuotaLedger
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend

    Asgi = Callable[[MutableMapping[str, Any], AsgiReceive, AsgiSend], Awaitable[None]]

#: Seconds that a collector may take for what is sent to it.
_EXPORT_TIMEOUT_SECONDS: Final = 5


class Tracing:
    """The spans of one server, on their way to whoever collects them.

    Args:
        processor: Takes finished spans.
        sample_ratio: Of all streams, 0 to 1, those that are followed.
    """

    def __init__(self, processor: SpanProcessor, sample_ratio: float = 1.0) -> None:
        named = Resource({"service.name": "echoic", "service.version": echoic.__version__})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=named.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("echoic", echoic.__version__)

    def build_engine_pool(
        self, registry: Registry, *, max_concurrency: int, idle_seconds: float, hang_seconds: float
    ) -> TracedEnginePool:
        """Return the door to the models, each window and batch of which is followed; see ``Engines``."""
        return TracedEnginePool(
            registry,
            self.tracer,
            max_concurrency=max_concurrency,
            idle_seconds=idle_seconds,
            hang_seconds=hang_seconds,
        )

    def trace_quotas(self, ledger: QuotaLedger) -> None:
        """Follow the round trips to a store of quotas."""
        ledger.store = TracedQuotaStore(ledger.store, self.tracer)

    def close(self) -> None:
        """Send what is left; blocks for as long as a collector may take."""
        self._provider.shutdown()


def build_tracing(endpoint: str, sample_ratio: float) -> Tracing:
    """Return traces that go to a collector.

    Args:
        endpoint: Where it takes OTLP over HTTP, usually ``http://…:4318/v1/traces``.
        sample_ratio: Of all streams, 0 to 1.
    """
    return Tracing(
        BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)), sample_ratio
    )


class TracingMiddleware:
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
            await self._app(scope, _record_disconnect(span, receive), _record_close(span, send))


def _record_disconnect(span: Span, receive: AsgiReceive) -> AsgiReceive:
    async def received() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            span.set_attribute("echoic.close_code", message.get("code") or 1006)
        return message

    return received


def _record_close(span: Span, send: AsgiSend) -> AsgiSend:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.close":
            span.set_attribute("echoic.close_code", message.get("code", 1000))
        await send(message)

    return sent


def list_stream_paths(stream_path: str) -> tuple[str, ...]:
    """Return the paths that streams are served at."""
    return (stream_path, CORE_PATH)
