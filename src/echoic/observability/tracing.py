"""Traces by OpenTelemetry (the extra ``otel``): imported only where they are switched on.

Nothing in them says what was said, in audio or text, or whose it was: only ids as the log has them, models,
durations, sizes and codes. A foreign exception is told by its kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import time_ns
from typing import Any, Final

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

import echoic
from echoic.engines.registry import Registry
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, EngineRequirements, Hypothesis, ModelRequest, OpenedModel, Window
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.model import (
    Charge,
    ChargeResult,
    LeaseResult,
    QuotaStore,
    QuotaUsage,
    StreamLease,
    TierLimits,
)
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.core_router import CORE_PATH
from echoic.server.stream.connection import Connection
from echoic.server.stream.outbox import AsgiSend
from echoic.server.stream.services import AsgiReceive
from echoic.session.effects import Decode

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


@dataclass(frozen=True, slots=True)
class _WindowTrace:
    """A window on its way; ``submitted_at`` is in nanoseconds of the wall clock."""

    window: Window
    span: Span
    submitted_at: int


class TracedEnginePool(EnginePool):
    """Follows each window of each client.

    Args:
        registry: The models there are.
        tracer: Makes spans.
        max_concurrency: As of ``Engines``.
        idle_seconds: As of ``Engines``.
        hang_seconds: As of ``Engines``.
    """

    def __init__(
        self,
        registry: Registry,
        tracer: Tracer,
        *,
        max_concurrency: int,
        idle_seconds: float,
        hang_seconds: float,
    ) -> None:
        super().__init__(
            registry, max_concurrency=max_concurrency, idle_seconds=idle_seconds, hang_seconds=hang_seconds
        )
        self._tracer = tracer
        self._stream_contexts: dict[Hashable, Context] = {}
        self._window_traces: dict[Hashable, dict[int, _WindowTrace]] = {}
        self._traces_by_window: dict[int, _WindowTrace] = {}

    async def open_model(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None = None
    ) -> OpenedModel:
        """See ``Engines.open``; from now on the client's windows belong to the span that this is in."""
        answer = await super().open_model(request, fallback=fallback, client=client)
        span = get_current_span()
        if client is not None and span.is_recording():
            self._stream_contexts[client] = set_span_in_context(span, Context())
            span.set_attribute("echoic.model", answer.name)
            if isinstance(client, Connection):
                span.set_attribute("echoic.stream", client.name)
        return answer

    def submit_decode(
        self, client: Hashable, decode: Decode, on_done: Callable[[int, Hypothesis | DecodeFailed], None]
    ) -> None:
        """See ``Engines.submit``."""
        stream = self._stream_contexts.get(client)
        if stream is None:  # one that is not followed
            super().submit_decode(client, decode, on_done)
            return
        window = decode.window
        facts: dict[str, str | bool | float] = {
            "echoic.model": decode.model,
            "echoic.final": decode.is_final,
            "echoic.seconds": window.audio.size / window.sample_rate,
            "echoic.new_seconds": window.new_samples / window.sample_rate,
        }
        flight = _WindowTrace(
            window, self._tracer.start_span("echoic.window", stream, attributes=facts), time_ns()
        )
        self._window_traces.setdefault(client, {})[decode.key] = self._traces_by_window[id(window)] = flight

        def answered(key: int, outcome: Hypothesis | DecodeFailed) -> None:
            if isinstance(outcome, DecodeFailed):
                flight.span.set_status(Status(StatusCode.ERROR))
            self._end_trace(client, key)
            on_done(key, outcome)

        super().submit_decode(client, decode, answered)

    def cancel_decodes(self, client: Hashable, keys: Iterable[int]) -> None:
        """See ``Engines.drop``."""
        dropped = tuple(keys)
        super().cancel_decodes(client, dropped)
        for key in dropped:
            self._end_trace(client, key, dropped=True)

    def remove_client(self, client: Hashable) -> None:
        """See ``Engines.leave``."""
        super().remove_client(client)
        for key in tuple(self._window_traces.get(client, ())):
            self._end_trace(client, key, dropped=True)
        self._stream_contexts.pop(client, None)

    def _end_trace(self, client: Hashable, key: int, *, dropped: bool = False) -> None:
        mine = self._window_traces.get(client, {})
        flight = mine.pop(key, None)
        if not mine:
            self._window_traces.pop(client, None)
        if flight is None:
            return
        self._traces_by_window.pop(id(flight.window), None)
        if dropped:
            flight.span.set_attribute("echoic.dropped", value=True)
        flight.span.end()

    def _load_engine(self, name: str) -> tuple[Engine, tuple[str, ...]]:
        engine, languages = super()._load_engine(name)
        return _TracedEngine(name, engine, self._tracer, self._traces_by_window), languages


class _TracedEngine:
    """An engine whose calls are spans, and parts of the spans of the windows in them."""

    def __init__(
        self, model: str, engine: Engine, tracer: Tracer, traces_by_window: dict[int, _WindowTrace]
    ) -> None:
        self._model = model
        self._engine = engine
        self._tracer = tracer
        self._traces_by_window = traces_by_window

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def requirements(self) -> EngineRequirements:
        return self._engine.requirements

    @property
    def max_batch_size(self) -> int:
        return self._engine.max_batch_size

    @property
    def max_concurrency(self) -> int:
        return self._engine.max_concurrency

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        found = (self._traces_by_window.get(id(window)) for window in windows)
        flights = [flight for flight in found if flight is not None]
        if not flights:
            return self._engine.decode(windows)
        began = time_ns()
        span = self._tracer.start_span(
            "echoic.batch",
            set_span_in_context(flights[0].span, Context()),
            links=[Link(flight.span.get_span_context()) for flight in flights[1:]],
            attributes={
                "echoic.model": self._model,
                "echoic.windows": len(windows),
                "echoic.seconds": sum(window.audio.size / window.sample_rate for window in windows),
            },
        )
        try:
            return self._engine.decode(windows)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()
            self._record_phases(flights, began, time_ns())

    def close(self) -> None:
        self._engine.close()

    def _record_phases(self, traces: Iterable[_WindowTrace], began: int, ended: int) -> None:
        """Tell of each window how long it waited and how long it was decoded."""
        for flight in traces:
            within = set_span_in_context(flight.span, Context())
            self._tracer.start_span("echoic.wait", within, start_time=flight.submitted_at).end(began)
            self._tracer.start_span("echoic.decode", within, start_time=began).end(ended)


class TracedQuotaStore:
    """A store of quotas, each step of which is a span.

    Args:
        store: The one that is followed.
        tracer: Makes spans.
    """

    def __init__(self, store: QuotaStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """See ``QuotaStore.acquire``."""
        with self._trace_step("acquire"):
            return await self._store.acquire_lease(lease, tier_limits, ttl_seconds)

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew``."""
        with self._trace_step("renew", places=len(leases)):
            return await self._store.renew_leases(leases, ttl_seconds)

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release``."""
        with self._trace_step("release"):
            await self._store.release_lease(lease)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        with self._trace_step("charge"):
            return await self._store.charge_audio(charge)

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:
        """See ``QuotaStore.charge_now``; no round trip, and no span."""
        return self._store.charge_audio_now(charge)

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.usage``."""
        with self._trace_step("usage"):
            return await self._store.read_usage(user)

    async def ping(self) -> None:
        """See ``QuotaStore.ping``; no span: it belongs to no stream, and comes every second."""
        await self._store.ping()

    async def close(self) -> None:
        """See ``QuotaStore.close``."""
        await self._store.close()

    @contextmanager
    def _trace_step(self, step: str, **facts: int) -> Iterator[None]:
        attributes = {f"echoic.{name}": fact for name, fact in facts.items()}
        span = self._tracer.start_span(f"echoic.quota.{step}", kind=SpanKind.CLIENT, attributes=attributes)
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()
