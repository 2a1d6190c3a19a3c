"""Windows and batches as spans: how long each waited, and what it was decoded with."""

from __future__ import annotations

from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Link, Status, StatusCode, get_current_span, set_span_in_context

from echoic.errors import DecodeFailed
from echoic.schedule.pool import EnginePool
from echoic.server.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from opentelemetry.trace import Span, Tracer

    from echoic.engines.base import Engine
    from echoic.engines.registry import Registry
    from echoic.session.effects import Decode, ModelAnswer, ModelRequest
    from echoic.session.window import Window, WindowNeeds
    from echoic.text.hypothesis import Hypothesis


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
    ) -> ModelAnswer:
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
            "echoic.final": decode.final,
            "echoic.seconds": window.audio.size / window.sample_rate,
            "echoic.new_seconds": window.new / window.sample_rate,
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
    def requirements(self) -> WindowNeeds:
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
