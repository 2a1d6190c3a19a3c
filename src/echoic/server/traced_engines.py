"""Windows and batches as spans: how long each waited, and what it was decoded with."""

from __future__ import annotations

from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Link, Status, StatusCode, get_current_span, set_span_in_context

from echoic.errors import DecodeFailed
from echoic.schedule.pool import Engines
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
class _Flight:
    """A window on its way; ``since`` is in nanoseconds of the wall clock."""

    window: Window
    span: Span
    since: int


class TracedEngines(Engines):
    """Follows each window of each client.

    Args:
        registry: The models there are.
        tracer: Makes spans.
        threads: As of ``Engines``.
        idle: As of ``Engines``.
        hung: As of ``Engines``.
    """

    def __init__(self, registry: Registry, tracer: Tracer, *, threads: int, idle: float, hung: float) -> None:
        super().__init__(registry, threads=threads, idle=idle, hung=hung)
        self._tracer = tracer
        self._streams: dict[Hashable, Context] = {}
        self._flights: dict[Hashable, dict[int, _Flight]] = {}
        self._by_window: dict[int, _Flight] = {}

    async def open(
        self, request: ModelRequest, *, fallback: bool, client: Hashable | None = None
    ) -> ModelAnswer:
        """See ``Engines.open``; from now on the client's windows belong to the span that this is in."""
        answer = await super().open(request, fallback=fallback, client=client)
        span = get_current_span()
        if client is not None and span.is_recording():
            self._streams[client] = set_span_in_context(span, Context())
            span.set_attribute("echoic.model", answer.name)
            if isinstance(client, Connection):
                span.set_attribute("echoic.stream", client.name)
        return answer

    def submit(
        self, client: Hashable, decode: Decode, done: Callable[[int, Hypothesis | DecodeFailed], None]
    ) -> None:
        """See ``Engines.submit``."""
        stream = self._streams.get(client)
        if stream is None:  # one that is not followed
            super().submit(client, decode, done)
            return
        window = decode.window
        facts: dict[str, str | bool | float] = {
            "echoic.model": decode.model,
            "echoic.final": decode.final,
            "echoic.seconds": window.audio.size / window.sample_rate,
            "echoic.new_seconds": window.new / window.sample_rate,
        }
        flight = _Flight(
            window, self._tracer.start_span("echoic.window", stream, attributes=facts), time_ns()
        )
        self._flights.setdefault(client, {})[decode.key] = self._by_window[id(window)] = flight

        def answered(key: int, outcome: Hypothesis | DecodeFailed) -> None:
            if isinstance(outcome, DecodeFailed):
                flight.span.set_status(Status(StatusCode.ERROR))
            self._land(client, key)
            done(key, outcome)

        super().submit(client, decode, answered)

    def drop(self, client: Hashable, keys: Iterable[int]) -> None:
        """See ``Engines.drop``."""
        dropped = tuple(keys)
        super().drop(client, dropped)
        for key in dropped:
            self._land(client, key, dropped=True)

    def leave(self, client: Hashable) -> None:
        """See ``Engines.leave``."""
        super().leave(client)
        for key in tuple(self._flights.get(client, ())):
            self._land(client, key, dropped=True)
        self._streams.pop(client, None)

    def _land(self, client: Hashable, key: int, *, dropped: bool = False) -> None:
        mine = self._flights.get(client, {})
        flight = mine.pop(key, None)
        if not mine:
            self._flights.pop(client, None)
        if flight is None:
            return
        self._by_window.pop(id(flight.window), None)
        if dropped:
            flight.span.set_attribute("echoic.dropped", value=True)
        flight.span.end()

    def _loaded(self, name: str) -> tuple[Engine, tuple[str, ...]]:
        engine, languages = super()._loaded(name)
        return _TracedEngine(name, engine, self._tracer, self._by_window), languages


class _TracedEngine:
    """An engine whose calls are spans, and parts of the spans of the windows in them."""

    def __init__(self, model: str, engine: Engine, tracer: Tracer, flights: dict[int, _Flight]) -> None:
        self._model = model
        self._engine = engine
        self._tracer = tracer
        self._flights = flights

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def needs(self) -> WindowNeeds:
        return self._engine.needs

    @property
    def lanes(self) -> int:
        return self._engine.lanes

    @property
    def threads(self) -> int:
        return self._engine.threads

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        found = (self._flights.get(id(window)) for window in windows)
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
            self._divide(flights, began, time_ns())

    def close(self) -> None:
        self._engine.close()

    def _divide(self, flights: Iterable[_Flight], began: int, ended: int) -> None:
        """Tell of each window how long it waited and how long it was decoded."""
        for flight in flights:
            within = set_span_in_context(flight.span, Context())
            self._tracer.start_span("echoic.wait", within, start_time=flight.since).end(began)
            self._tracer.start_span("echoic.decode", within, start_time=began).end(ended)
