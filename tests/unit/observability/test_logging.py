"""What is in the log, and what never is."""

from __future__ import annotations

import base64
import io
import json
import logging
import signal
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.observability.logging import bind_log_context, build_log_formatter, log_event
from support.live import STREAM_PATH, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "hush-4417-keep-it"
WRONG = "wrong-9920-key"
#: A server below which a library warns.
COMPLAINING = """
import logging, os, warnings
from echoic.server import process
from echoic.server.settings.load import load_settings

class Complaining(process.EchoicServer):
    def run(self, sockets):
        logging.getLogger("opentelemetry.exporter").warning("Transient error, retrying in %d s.", 1)
        warnings.warn("an old way")
        super().run(sockets)

process.EchoicServer = Complaining
process.serve(load_settings(None, os.environ))
"""
WORDS = ["alpha", "bravo", "charlie", "delta"]


class Written:
    """A logger whose lines are kept."""

    def __init__(self) -> None:
        self.lines = io.StringIO()
        self.handler = logging.StreamHandler(self.lines)
        self.log = logging.getLogger("echoic.tests.log")
        self.log.setLevel(logging.DEBUG)
        self.log.addHandler(self.handler)

    def in_form(self, *, as_json: bool) -> None:
        self.handler.setFormatter(build_log_formatter(as_json=as_json))

    @property
    def last(self) -> str:
        return self.lines.getvalue().splitlines()[-1]


@pytest.fixture
def written() -> Iterator[Written]:
    one = Written()
    yield one
    one.log.removeHandler(one.handler)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_is_time_level_event_context_and_values(written: Written, *, as_json: bool) -> None:
    written.in_form(as_json=as_json)
    with bind_log_context(stream="s1"):
        log_event(written.log, logging.INFO, "it.happened", who="a b", count=2, left=None)
    if as_json:
        line = json.loads(written.last)
        assert list(line) == ["time", "level", "event", "stream", "who", "count", "left"]
        assert line["who"] == "a b"
    else:
        assert written.last.endswith('Z level=info event=it.happened stream=s1 who="a b" count=2 left=')


@pytest.mark.parametrize("as_json", [True, False])
def test_a_value_cannot_forge_a_line(written: Written, *, as_json: bool) -> None:
    written.in_form(as_json=as_json)
    log_event(written.log, logging.INFO, "it.happened", who='x\r\nlevel=error "event"=\x1b[31m\u2028')
    assert len(written.lines.getvalue().splitlines()) == 1
    assert "\x1b" not in written.lines.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_its_kind_and_place_and_never_its_text(written: Written, *, as_json: bool) -> None:
    written.in_form(as_json=as_json)
    try:
        int(KEY)
    except ValueError:
        written.log.exception("it.broke")
    assert "ValueError" in written.last
    assert "test_logging.py:" in written.last
    assert KEY not in written.lines.getvalue()


async def run(server: ServerProcess) -> None:
    """Stream in every way that a key and audio may come, one of them refused."""
    place, audio = server.address, draw_words(WORDS).tobytes()
    for how in ("header", "query", "message", "wrong"):
        url = f"ws://{place}{STREAM_PATH}"
        headers = {"Authorization": f"Bearer {KEY}"} if how == "header" else {}
        query = {"query": f"?token={KEY}", "wrong": f"?token={WRONG}"}.get(how, "")
        async with connect(url + query, additional_headers=headers) as client:
            if how == "wrong":
                assert json.loads(await client.recv())["code"] == "unauthorized"
                continue
            if how == "message":
                await client.send(json.dumps({"type": "auth", "token": KEY}))
            await client.send('{"type":"config","model":"scripted"}')
            await client.send(audio)
            await client.send(json.dumps({"type": "audio", "data": base64.b64encode(audio).decode()}))
            await client.send('{"type":"nonsense","words":"alpha"}')
            await client.send('{"type":"stop"}')
            frames = [json.loads(frame) async for frame in client]
            assert frames[-1]["text"] == " ".join(WORDS * 2)


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_at_debug_level_there_is_no_word_no_audio_and_no_key_in_the_log(log_format: str) -> None:
    with ServerProcess(api_key=KEY, log_level="debug", log_format=log_format) as server:
        await run(server)
        server.process.send_signal(signal.SIGTERM)
        _, log = server.wait_for_exit()
    assert log.count("stream.opened") == log.count("stream.closed") == 3
    audio = draw_words(WORDS).tobytes()
    encoded = base64.b64encode(audio).decode()
    for secret in (*WORDS, KEY, WRONG, "token", encoded[:16], encoded[-16:], audio[:8].hex(), str(audio[:8])):
        assert secret not in log


async def test_the_log_says_who_came_what_was_heard_and_how_it_ended() -> None:
    with ServerProcess(api_key=KEY, log_level="debug", log_format="json") as server:
        await run(server)
        server.process.send_signal(signal.SIGTERM)
        _, log = server.wait_for_exit()
    lines = [json.loads(line) for line in log.splitlines()]
    by_event: dict[str, list[dict[str, object]]] = {}
    for line in lines:
        by_event.setdefault(line["event"], []).append(line)
    opened, closed = by_event["stream.opened"], by_event["stream.closed"]
    assert [line["stream"] for line in opened] == [line["stream"] for line in closed]
    assert len({line["stream"] for line in opened}) == 3
    end = closed[0]
    assert (end["user"], end["address"], end["model"]) == ("default", "127.0.0.1", "scripted")
    assert (end["code"], end["reason"], end["finals"]) == (1000, None, 2)
    assert end["heard"] == pytest.approx(2 * draw_words(WORDS).size / 16_000)
    assert [line["code"] for line in by_event["stream.error"]] == ["unknown_type"] * 3
    (refused,) = by_event["stream.refused"]
    assert (refused["code"], refused["address"]) == ("unauthorized", "127.0.0.1")
    assert refused["stream"] not in {line["stream"] for line in opened}


async def test_in_json_every_line_is_json_also_those_of_libraries_and_nothing_is_said_beside() -> None:
    with ServerProcess(COMPLAINING, log_format="json") as server:
        assert server.address
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert (code, server.stdout_lines) == (0, [])
    lines = {line["event"]: line for line in map(json.loads, log.splitlines())}
    assert lines["server.started"]["models"] == "scripted"
    warned = lines["Transient error, retrying in 1 s."]
    assert (warned["level"], warned["logger"]) == ("warning", "opentelemetry.exporter")
    assert any("an old way" in name for name in lines)
