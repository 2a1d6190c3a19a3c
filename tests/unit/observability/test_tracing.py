"""Traces: what was waited for and decoded, and nothing of what was said."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from pydantic import ValidationError
from websockets.asyncio.client import connect

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import Charge, QuotaStoreUnavailable
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from support.live import STREAM_PATH, ServerProcess
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from fastapi import FastAPI
    from opentelemetry.sdk.trace import ReadableSpan

    from echoic.quotas.model import ChargeResult

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from echoic.observability.tracing import Tracing

WORDS = [("alpha", 1.0), ("bravo", 1.0), ("charlie", 1.0), ("delta", 1.0)]
KEY = "a-key-that-nobody-may-see"


@asynccontextmanager
async def started(share: float = 1.0, **hooks: Callable[[], object]) -> AsyncIterator[FastAPI]:
    """Yield an application whose spans are kept in memory, in ``app.state.spans``."""
    spans = InMemorySpanExporter()
    seat = ModelSpec(
        "scripted", "scripted", "standard", lambda: None, lambda: ScriptedEngine(word_hooks=hooks)
    )
    settings = Settings.model_validate(
        {"scripted_engine": True, "preload_model": "scripted", "api_key": KEY, "streaming_fallback": False}
    )
    app = build_app(settings, Registry([seat], "scripted"), Tracing(SimpleSpanProcessor(spans), share))
    app.state.spans = spans
    async with app.router.lifespan_context(app):
        await app.state.context.readiness.settled.wait()
        yield app


async def spoken(app: FastAPI) -> list[dict[str, Any]]:
    """Stream the words; return the finals."""
    async with MemorySocket(app, headers={"x-api-key": KEY}) as socket:
        socket.send({"type": "config", "model": "scripted"})
        audio = draw_words(WORDS)
        for start in range(0, len(audio), 8_000):
            socket.send(audio[start : start + 8_000].tobytes())
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert (await socket.receive_frame())["type"] == "close"
    return [frame for frame in frames if frame["type"] == "final"]


def by_name(app: FastAPI) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in app.state.spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def children(spans: Iterable[ReadableSpan], parent: ReadableSpan) -> list[ReadableSpan]:
    assert parent.context is not None
    return [one for one in spans if one.parent is not None and one.parent.span_id == parent.context.span_id]


async def test_a_stream_its_windows_and_their_batches_are_spans() -> None:
    async with started() as app:
        finals = await spoken(app)
    spans = by_name(app)
    (stream,) = spans["echoic.stream"]
    assert facts(stream)["echoic.endpoint"] == STREAM_PATH
    assert facts(stream)["echoic.close_code"] == 1000
    assert facts(stream)["echoic.model"] == "scripted"
    assert len(facts(stream)["echoic.stream"]) == 12
    windows = children(spans["echoic.window"], stream)
    assert len(windows) == len(spans["echoic.window"])
    assert sum(facts(window)["echoic.final"] for window in windows) >= len(finals) > 1
    decoded = [window for window in windows if not facts(window).get("echoic.dropped")]
    for window in decoded:
        (wait,) = children(spans["echoic.wait"], window)
        (decode,) = children(spans["echoic.decode"], window)
        assert window.start_time <= wait.end_time == decode.start_time <= decode.end_time <= window.end_time  # type: ignore[operator]
    assert sum(facts(batch)["echoic.windows"] for batch in spans["echoic.batch"]) >= len(decoded)
    assert app.state.context.services.engines.observer.is_idle  # no span is kept


async def test_no_attribute_says_what_was_said_or_by_whom() -> None:
    async with started() as app:
        finals = await spoken(app)
    told = " ".join(span.to_json() for span in app.state.spans.get_finished_spans())
    assert "alpha" in finals[0]["text"]
    for secret in ("alpha", "bravo", "charlie", "delta", KEY):
        assert secret not in told


async def test_an_engine_that_fails_is_told_by_its_kind() -> None:
    def fail() -> None:
        raise ValueError("what was heard: alpha")

    async with started(alpha=fail) as app:
        await spoken(app)
    spans = by_name(app)
    failed = [batch for batch in spans["echoic.batch"] if not batch.status.is_ok]
    assert {facts(batch).get("error.type") for batch in failed} >= {"ValueError"}
    assert all(not span.events for span in app.state.spans.get_finished_spans())
    assert "alpha" not in " ".join(span.to_json() for span in app.state.spans.get_finished_spans())


async def test_of_streams_that_are_not_followed_there_is_nothing() -> None:
    async with started(share=0.0) as app:
        assert await spoken(app)
    assert not app.state.spans.get_finished_spans()


async def test_calls_of_the_quota_store_are_spans() -> None:
    class FailingStore(MemoryQuotaStore):
        async def charge_audio(self, charge: Charge) -> ChargeResult:
            raise QuotaStoreUnavailable(f"of {charge.lease.user}")

    spans = InMemorySpanExporter()
    observer = Tracing(SimpleSpanProcessor(spans)).build_quota_observer()
    ledger = QuotaLedger(FailingStore(), observer=observer)
    stream = await ledger.open_stream("anna", "standard")
    await ledger.inspect_status("anna", "standard")
    await ledger.renew_leases()
    await ledger.release_lease(stream.lease)
    await ledger.close_stream(stream)
    names = ("acquire", "usage", "renew", "release", "charge")
    finished = spans.get_finished_spans()
    assert [span.name for span in finished] == [f"echoic.quota.{name}" for name in names]
    assert facts(finished[2]) == {"echoic.places": 1}
    assert facts(finished[4]) == {"error.type": "QuotaStoreUnavailable"}
    assert "anna" not in " ".join(span.to_json() for span in finished)


class Collector:
    """Takes OTLP over HTTP on loopback; a context manager."""

    def __init__(self) -> None:
        received = self.received = []  # type: list[tuple[str, bytes]]

        class Taking(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def test_a_server_sends_them_to_a_collector() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  # only here
        ExportTraceServiceRequest,
    )

    with (
        Collector() as collector,
        ServerProcess(traces_endpoint=collector.url, api_key=KEY, log_level="error") as server,
    ):
        async with connect(
            f"ws://{server.address}{STREAM_PATH}", additional_headers={"X-API-KEY": KEY}
        ) as socket:
            await socket.send('{"type": "config", "model": "scripted"}')
            await socket.send(draw_words(WORDS).tobytes())
            await socket.send('{"type": "stop"}')
            said = [message async for message in socket]
        server.process.terminate()
        assert server.wait_for_exit()[0] in (0, -15)
    assert "alpha" in " ".join(map(str, said))
    names = set()
    for path, body in collector.received:
        assert path == "/v1/traces"
        assert not any(secret.encode() in body for secret in ("alpha", "delta", KEY))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert any(one.value.string_value == "echoic" for one in resource.resource.attributes)
            names |= {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"echoic.stream", "echoic.window", "echoic.wait", "echoic.decode", "echoic.batch"}


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(ValidationError, match=r"pip install 'echoic\[otel\]'"):
        Settings.model_validate({"traces_endpoint": "http://127.0.0.1:4318/v1/traces"})
    assert Settings().server.traces_endpoint is None


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="http://"):
        Settings.model_validate({"traces_endpoint": "localhost:4317"})


def test_without_them_nothing_is_imported() -> None:
    program = (
        "import sys; from echoic.server.app import build_app; from echoic.server.settings.groups import Settings;"
        "build_app(Settings.model_validate({'scripted_engine': True}));"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == 0
