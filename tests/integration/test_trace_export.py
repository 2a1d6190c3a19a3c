"""Traces of a server process, exported to a collector."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.server_process import ServerProcess

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

WORDS = [("alpha", 1.0), ("bravo", 1.0), ("charlie", 1.0), ("delta", 1.0)]


KEY = "a-key-that-stays-secret"


class Collector:
    """Receives OTLP over HTTP on loopback; a context manager."""

    def __init__(self) -> None:
        received = self.received = []  # type: list[tuple[str, bytes]]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def test_a_server_exports_spans_to_a_collector() -> None:
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
            messages = [message async for message in socket]
        server.process.terminate()
        assert server.wait_for_exit()[0] in (0, -15)
    assert "alpha" in " ".join(map(str, messages))
    names = set()
    for path, body in collector.received:
        assert path == "/v1/traces"
        assert not any(secret.encode() in body for secret in ("alpha", "delta", KEY))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert any(one.value.string_value == "echoic" for one in resource.resource.attributes)
            names |= {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"echoic.stream", "echoic.window", "echoic.wait", "echoic.decode", "echoic.batch"}


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    program = (
        "import sys; from echoic.server.app import build_app;"
        "from echoic.server.settings.groups import Settings;"
        "build_app(Settings.model_validate({'scripted_engine': True}));"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == 0
