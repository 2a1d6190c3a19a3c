"""OpenTelemetry traces of streams, windows, batches and calls of the quota store (extra ``otel``).

Spans hold ids as they are in the log, models, durations, sizes and codes. They never hold audio, text, keys
or users. An exception is recorded by its type alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import echoic
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Hypothesis, OpenedModel, Window
from echoic.quotas.ledger import QuotaObserver
from echoic.scheduling.observer import DecodeObserver
from echoic.session.effects import Decode

#: Seconds that a collector may take to receive a batch of spans.
_EXPORT_TIMEOUT_SECONDS: Final = 5


class Tracing:
    """Creates the spans of one server and exports them.

    Args:
        processor: Receives finished spans.
        sample_ratio: The share of streams that are traced, 0 to 1.
    """

    def __init__(self, processor: SpanProcessor, sample_ratio: float = 1.0) -> None:
        service = Resource({"service.name": "echoic", "service.version": echoic.__version__})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=service.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("echoic", echoic.__version__)

    def build_decode_observer(
        self, get_stream_name: Callable[[Hashable], str | None]
    ) -> TracingDecodeObserver:
        """Return an observer for an ``EnginePool``.

        Args:
            get_stream_name: Returns the id in the log of a client of the pool, or None for other clients.
        """
        return TracingDecodeObserver(self.tracer, get_stream_name)

    def build_quota_observer(self) -> TracingQuotaObserver:
        """Return an observer for a ``QuotaLedger``."""
        return TracingQuotaObserver(self.tracer)

    def close(self) -> None:
        """Export the remaining spans; blocks for as long as the collector may take."""
        self._provider.shutdown()


def build_tracing(endpoint: str, sample_ratio: float) -> Tracing:
    """Return a tracing that exports spans to a collector in the background.

    Args:
        endpoint: The collector's URL for OTLP over HTTP, usually ``http://…:4318/v1/traces``.
        sample_ratio: The share of streams that are traced, 0 to 1.
    """
    exporter = OTLPSpanExporter(endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)
    return Tracing(BatchSpanProcessor(exporter), sample_ratio)


class TracingMiddleware:
    """ASGI middleware that makes one span of each WebSocket connection.

    Args:
        app: The application.
        tracer: Makes the spans.
        paths: The endpoints' paths. Every other path a client asks for is recorded as ``other``.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer, paths: Sequence[str]) -> None:
        self._app = app
        self._tracer = tracer
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        with self._tracer.start_as_current_span(
            "echoic.stream",
            Context(),  # always a new trace: the trace headers of clients are ignored
            SpanKind.SERVER,
            {"echoic.endpoint": path},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            await self._app(scope, _record_disconnect(span, receive), _record_close(span, send))


def _record_disconnect(span: Span, receive: Receive) -> Receive:
    async def receive_and_record() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            span.set_attribute("echoic.close_code", message.get("code") or 1006)
        return message

    return receive_and_record


def _record_close(span: Span, send: Send) -> Send:
    async def record_and_send(message: Message) -> None:
        if message["type"] == "websocket.close":
            span.set_attribute("echoic.close_code", message.get("code", 1000))
        await send(message)

    return record_and_send


@dataclass(frozen=True, slots=True)
class _WindowTrace:
    """The open span of a window that is queued or being decoded."""

    window: Window
    span: Span
    #: Nanoseconds of the wall clock.
    submitted_at: int


class TracingDecodeObserver(DecodeObserver):
    """Traces the windows of each traced stream, and the batches they are decoded in.

    Args:
        tracer: Makes the spans.
        get_stream_name: Returns the id in the log of a client, or None.
    """

    def __init__(self, tracer: Tracer, get_stream_name: Callable[[Hashable], str | None]) -> None:
        self._tracer = tracer
        self._get_stream_name = get_stream_name
        self._stream_contexts: dict[Hashable, Context] = {}
        self._window_traces: dict[Hashable, dict[int, _WindowTrace]] = {}
        self._traces_by_window: dict[int, _WindowTrace] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no stream and no window is being traced."""
        return not (self._stream_contexts or self._window_traces or self._traces_by_window)

    def on_model_opened(self, client: Hashable, opened: OpenedModel) -> None:
        """Make the current span the parent of the client's windows."""
        span = get_current_span()
        if not span.is_recording():
            return
        self._stream_contexts[client] = set_span_in_context(span, Context())
        span.set_attribute("echoic.model", opened.name)
        name = self._get_stream_name(client)
        if name is not None:
            span.set_attribute("echoic.stream", name)

    def on_submit(self, client: Hashable, decode: Decode) -> None:
        """Start the span of a window."""
        stream = self._stream_contexts.get(client)
        if stream is None:  # this stream is not traced
            return
        window = decode.window
        attributes: dict[str, str | bool | float] = {
            "echoic.model": decode.model,
            "echoic.final": decode.is_final,
            "echoic.seconds": window.audio.size / window.sample_rate,
            "echoic.new_seconds": window.new_samples / window.sample_rate,
        }
        span = self._tracer.start_span("echoic.window", stream, attributes=attributes)
        trace = _WindowTrace(window, span, time_ns())
        self._window_traces.setdefault(client, {})[decode.key] = self._traces_by_window[id(window)] = trace

    def on_done(self, client: Hashable, key: int, outcome: Hypothesis | DecodeFailed | None) -> None:
        """End the span of a window."""
        traces = self._window_traces.get(client, {})
        trace = traces.pop(key, None)
        if trace is None:
            return
        if not traces:
            del self._window_traces[client]
        del self._traces_by_window[id(trace.window)]
        if outcome is None:
            trace.span.set_attribute("echoic.dropped", value=True)
        elif isinstance(outcome, DecodeFailed):
            trace.span.set_status(Status(StatusCode.ERROR))
        trace.span.end()

    def on_client_removed(self, client: Hashable) -> None:
        """Forget the span of a stream."""
        self._stream_contexts.pop(client, None)

    @contextmanager
    def observe_batch(self, model: str, windows: Sequence[Window]) -> Iterator[None]:
        """Make a span of a batch, and spans of the wait and the decode of each window in it."""
        found = (self._traces_by_window.get(id(window)) for window in windows)
        traces = [trace for trace in found if trace is not None]
        if not traces:
            yield
            return
        started_at = time_ns()
        span = self._tracer.start_span(
            "echoic.batch",
            set_span_in_context(traces[0].span, Context()),
            links=[Link(trace.span.get_span_context()) for trace in traces[1:]],
            attributes={
                "echoic.model": model,
                "echoic.windows": len(windows),
                "echoic.seconds": sum(window.audio.size / window.sample_rate for window in windows),
            },
        )
        try:
            with _end_with_error_type(span):
                yield
        finally:
            self._record_phases(traces, started_at, time_ns())

    def _record_phases(self, traces: Iterable[_WindowTrace], started_at: int, ended_at: int) -> None:
        for trace in traces:
            parent = set_span_in_context(trace.span, Context())
            self._tracer.start_span("echoic.wait", parent, start_time=trace.submitted_at).end(started_at)
            self._tracer.start_span("echoic.decode", parent, start_time=started_at).end(ended_at)


class TracingQuotaObserver(QuotaObserver):
    """Makes a span of each call of the quota store.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def observe_call(self, name: str, **numbers: int) -> AbstractContextManager[None]:
        """Make a span of one call."""
        attributes = {f"echoic.{key}": number for key, number in numbers.items()}
        span = self._tracer.start_span(f"echoic.quota.{name}", kind=SpanKind.CLIENT, attributes=attributes)
        return _end_with_error_type(span)


@contextmanager
def _end_with_error_type(span: Span) -> Iterator[None]:
    """End the span with the block; an exception is recorded by its type, without its text."""
    try:
        yield
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", type(error).__name__)
        raise
    finally:
        span.end()
