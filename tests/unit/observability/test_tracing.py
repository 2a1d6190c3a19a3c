"""Traces of streams, windows, batches and calls of the quota store."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.protocol.constants import STREAM_PATH
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import Charge, QuotaStoreUnavailable
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
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
KEY = "a-secret-key"


@asynccontextmanager
async def run_app(sample_ratio: float = 1.0, **hooks: Callable[[], object]) -> AsyncIterator[FastAPI]:
    """Yield an application whose spans are kept in memory, in ``app.state.spans``."""
    spans = InMemorySpanExporter()
    spec = ModelSpec(
        "scripted", "scripted", "standard", lambda: None, lambda: ScriptedEngine(word_hooks=hooks)
    )
    settings = Settings.model_validate(
        {"scripted_engine": True, "preload_model": "scripted", "api_key": KEY, "streaming_fallback": False}
    )
    app = build_app(settings, Registry([spec], "scripted"), Tracing(SimpleSpanProcessor(spans), sample_ratio))
    app.state.spans = spans
    async with app.router.lifespan_context(app):
        await app.state.context.readiness.settled.wait()
        yield app


async def stream_words(app: FastAPI) -> list[dict[str, Any]]:
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


def group_by_name(app: FastAPI) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in app.state.spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def get_attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def find_children(spans: Iterable[ReadableSpan], parent: ReadableSpan) -> list[ReadableSpan]:
    assert parent.context is not None
    return [one for one in spans if one.parent is not None and one.parent.span_id == parent.context.span_id]


async def test_streams_windows_and_batches_are_spans() -> None:
    async with run_app() as app:
        finals = await stream_words(app)
    spans = group_by_name(app)
    (stream,) = spans["echoic.stream"]
    assert get_attributes(stream)["echoic.endpoint"] == STREAM_PATH
    assert get_attributes(stream)["echoic.close_code"] == 1000
    assert get_attributes(stream)["echoic.model"] == "scripted"
    assert len(get_attributes(stream)["echoic.stream"]) == 12
    windows = find_children(spans["echoic.window"], stream)
    assert len(windows) == len(spans["echoic.window"])
    assert sum(get_attributes(window)["echoic.final"] for window in windows) >= len(finals) > 1
    decoded = [window for window in windows if not get_attributes(window).get("echoic.dropped")]
    for window in decoded:
        (wait,) = find_children(spans["echoic.wait"], window)
        (decode,) = find_children(spans["echoic.decode"], window)
        assert window.start_time <= wait.end_time == decode.start_time <= decode.end_time <= window.end_time  # type: ignore[operator]
    assert sum(get_attributes(batch)["echoic.windows"] for batch in spans["echoic.batch"]) >= len(decoded)
    assert app.state.context.services.engines.observer.is_idle  # no span is kept


async def test_no_span_holds_words_or_keys() -> None:
    async with run_app() as app:
        finals = await stream_words(app)
    text = " ".join(span.to_json() for span in app.state.spans.get_finished_spans())
    assert "alpha" in finals[0]["text"]
    for secret in ("alpha", "bravo", "charlie", "delta", KEY):
        assert secret not in text


async def test_a_failing_engine_is_recorded_by_its_error_type() -> None:
    def fail() -> None:
        raise ValueError("received: alpha")

    async with run_app(alpha=fail) as app:
        await stream_words(app)
    spans = group_by_name(app)
    failed = [batch for batch in spans["echoic.batch"] if not batch.status.is_ok]
    assert {get_attributes(batch).get("error.type") for batch in failed} >= {"ValueError"}
    assert all(not span.events for span in app.state.spans.get_finished_spans())
    assert "alpha" not in " ".join(span.to_json() for span in app.state.spans.get_finished_spans())


async def test_streams_that_are_not_sampled_have_no_spans() -> None:
    async with run_app(sample_ratio=0.0) as app:
        assert await stream_words(app)
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
    assert get_attributes(finished[2]) == {"echoic.leases": 1}
    assert get_attributes(finished[4]) == {"error.type": "QuotaStoreUnavailable"}
    assert "anna" not in " ".join(span.to_json() for span in finished)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(ValidationError, match=r"pip install 'echoic\[otel\]'"):
        Settings.model_validate({"traces_endpoint": "http://127.0.0.1:4318/v1/traces"})
    assert Settings().server.traces_endpoint is None


def test_an_invalid_endpoint_is_refused() -> None:
    with pytest.raises(ValidationError, match="http://"):
        Settings.model_validate({"traces_endpoint": "localhost:4317"})
