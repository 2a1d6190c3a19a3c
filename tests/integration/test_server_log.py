"""The log of a server process: its events, without words, audio or keys."""

from __future__ import annotations

import base64
import json
import signal

import pytest
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.server_process import ServerProcess

KEY = "hush-4417-keep-it"
WRONG = "wrong-9920-key"


#: A server in which libraries warn.
WARNING_PROGRAM = """
import logging, os, warnings
from echoic.server import process
from echoic.server.settings.load import load_settings

class WarningServer(process.EchoicServer):
    def run(self, sockets):
        logging.getLogger("opentelemetry.exporter").warning("Transient error, retrying in %d s.", 1)
        warnings.warn("an old way")
        super().run(sockets)

process.EchoicServer = WarningServer
process.serve(load_settings(None, os.environ))
"""


WORDS = ["alpha", "bravo", "charlie", "delta"]


async def run_streams(server: ServerProcess) -> None:
    """Stream with the key in a header, the query and a message, and once with a wrong key."""
    address, audio = server.address, draw_words(WORDS).tobytes()
    for how in ("header", "query", "message", "wrong"):
        url = f"ws://{address}{STREAM_PATH}"
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
async def test_the_debug_log_holds_no_word_audio_or_key(log_format: str) -> None:
    with ServerProcess(api_key=KEY, log_level="debug", log_format=log_format) as server:
        await run_streams(server)
        server.process.send_signal(signal.SIGTERM)
        _, log = server.wait_for_exit()
    assert log.count("stream.opened") == log.count("stream.closed") == 3
    audio = draw_words(WORDS).tobytes()
    encoded = base64.b64encode(audio).decode()
    for secret in (*WORDS, KEY, WRONG, "token", encoded[:16], encoded[-16:], audio[:8].hex(), str(audio[:8])):
        assert secret not in log


async def test_the_log_has_user_audio_and_end_of_each_stream() -> None:
    with ServerProcess(api_key=KEY, log_level="debug", log_format="json") as server:
        await run_streams(server)
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


async def test_every_line_of_a_json_log_is_json() -> None:
    with ServerProcess(WARNING_PROGRAM, log_format="json") as server:
        assert server.address
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert (code, server.stdout_lines) == (0, [])
    lines = {line["event"]: line for line in map(json.loads, log.splitlines())}
    assert lines["server.started"]["models"] == "scripted"
    warned = lines["Transient error, retrying in 1 s."]
    assert (warned["level"], warned["logger"]) == ("warning", "opentelemetry.exporter")
    assert any("an old way" in name for name in lines)
