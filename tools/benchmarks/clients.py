"""WebSocket clients that stream scripts at a pace and record when frames arrive.

As a program, clients in a process of their own:

    python -m tools.benchmarks.clients crowd URL STREAMS SECONDS
    python -m tools.benchmarks.clients flood URL STREAMS SECONDS MESSAGE

``crowd`` streams in real time and prints a ``LoadResult`` as one line of JSON. ``flood`` sends one of
``FLOOD_MESSAGES`` as fast as it can.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echoic.engines.scripted import VOCABULARY, draw_words
from tools.benchmarks.load_results import LoadResult

RATE = 16_000
#: Seconds: the protocol's default window, and the step from the end of one window to the end of the next.
CHUNK, STEP = 2.0, 1.5
#: Messages of a flood, by name.
FLOOD_MESSAGES: Mapping[str, str | bytes] = MappingProxyType(
    {"audio of 1 ms": bytes(64), "pings": '{"type":"ping"}'}
)
_TIMEOUT_SECONDS = 60.0
#: Messages that a flooding client sends at a time, and seconds until the next.
_BURST, _PAUSE = 10, 0.01


@dataclass(frozen=True, slots=True)
class StreamScript:
    """The audio of one client and how it is sent."""

    #: float32, shape ``(n,)``, mono, 16 kHz.
    audio: NDArray[np.float32] = field(repr=False)
    #: Seconds of audio in a message.
    message: float = 0.1
    #: Seconds of audio sent per second; 1 is real time.
    pace: float = 1.0
    #: Seconds before the first message.
    wait: float = 0.0
    #: Raw samples; False: base64 in JSON.
    binary: bool = True
    #: Keys of the config frame besides the model.
    config: dict[str, object] = field(default_factory=dict)
    #: The expected transcript; None: unknown.
    text: str | None = None


@dataclass(slots=True)
class ClientResult:
    """What one client sent and received; times in seconds of one clock."""

    #: When the message that completed a window was sent, by the end of the window in seconds of audio.
    due: dict[float, float] = field(default_factory=dict)
    #: When a final arrived, by the end of its segment.
    finals: dict[float, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    #: Speakers of the finals; None: unknown.
    labels: list[int | None] = field(default_factory=list)
    #: Codes of error frames.
    codes: list[str] = field(default_factory=list)

    @property
    def delays(self) -> list[float]:
        """Seconds from the message that completed a window to its final."""
        return [self.finals[end] - at for end, at in self.due.items() if end in self.finals]

    def add_to(self, result: LoadResult, text: str | None) -> None:
        """Add the client's counts to a result.

        Args:
            result: The result of all clients.
            text: The expected transcript; None: unknown.
        """
        for end, at in self.due.items():
            result.add_final(end, self.finals[end] - at if end in self.finals else None)
        result.wrong += text is not None and " ".join(self.texts) != text
        result.lost += len(self.codes)


def draw_script(seconds: float, seed: int = 0) -> tuple[str, NDArray[np.float32]]:
    """Return words without pauses for about ``seconds``, and their audio for the scripted engine."""
    count = int(seconds / 0.4)
    words = [VOCABULARY[(seed * 7 + number * 11) % len(VOCABULARY)] for number in range(count)]
    return " ".join(words), draw_words(words)


def build_crowd_scripts(streams: int, seconds: float) -> list[StreamScript]:
    """Return a script per stream; they start spread over one step, so that windows do not end together."""
    scripts = []
    for number in range(streams):
        text, audio = draw_script(seconds, number)
        scripts.append(StreamScript(audio, wait=STEP * number / streams, text=text))
    return scripts


async def run_scripts(url: str, scripts: Sequence[StreamScript]) -> LoadResult:
    """Stream all scripts at the same time and return what the clients measured."""
    result = LoadResult()
    clients = await asyncio.gather(*(stream_script(url, script) for script in scripts))
    for script, client in zip(scripts, clients, strict=True):
        client.add_to(result, script.text)
    return result


async def stream_script(url: str, script: StreamScript) -> ClientResult:
    """Stream one script, wait for the end of the stream, and return what the client received."""
    result = ClientResult()
    async with connect(url, compression=None, ping_interval=None, open_timeout=_TIMEOUT_SECONDS) as socket:
        await send_config(socket, **script.config)
        reader = asyncio.create_task(_read_frames(socket, result))
        await _send_audio(socket, script, result)
        await socket.send('{"type":"stop"}')
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await reader
    return result


async def stream_script_bare(url: str, script: StreamScript) -> None:
    """Stream one script to the bare endpoint, which answers nothing."""
    async with connect(url, compression=None, ping_interval=None) as socket:
        await _send_audio(socket, script, ClientResult())


async def send_config(socket: ClientConnection, **config: object) -> None:
    """Send a config for the scripted engine and wait for its reply."""
    await socket.send(json.dumps({"type": "config", "model": "scripted", **config}))
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while json.loads(await socket.recv()).get("state") != "configured":
            pass


async def wait_for_transcript(socket: ClientConnection) -> str:
    """Wait for the transcript that answers a commit, and return it."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while (frame := json.loads(await socket.recv()))["type"] != "full_transcript":
            pass
    return str(frame["text"])


def encode_messages(script: StreamScript) -> Iterator[str | bytes]:
    """Yield the audio messages of a script."""
    size = round(script.message * RATE)
    for start in range(0, len(script.audio), size):
        data = script.audio[start : start + size].astype("<f4").tobytes()
        if script.binary:
            yield data
        else:
            yield json.dumps({"type": "audio", "data": base64.b64encode(data).decode()})


async def _send_audio(socket: ClientConnection, script: StreamScript, result: ClientResult) -> None:
    size, sent, due = round(script.message * RATE), 0, round(CHUNK * RATE)
    begin = time.perf_counter() + script.wait
    for message in encode_messages(script):
        moment = begin + sent / RATE / script.pace
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        sent = min(sent + size, len(script.audio))
        now = time.perf_counter()
        while due <= sent:
            result.due[due / RATE] = now
            due += round(STEP * RATE)
        await socket.send(message)


async def _read_frames(socket: ClientConnection, result: ClientResult) -> None:
    with suppress(ConnectionClosed):
        async for message in socket:
            now = time.perf_counter()
            frame = json.loads(message)
            if frame["type"] == "final":
                result.finals[frame["segment_end"]] = now
                result.texts.append(frame["text"])
                result.labels.append(frame.get("speaker_id"))
            elif frame["type"] == "error":
                result.codes.append(frame["code"])


async def flood_server(url: str, streams: int, seconds: float, message: str | bytes) -> None:
    """Send small messages from many clients as fast as they can."""
    await asyncio.gather(*(_flood(url, seconds, message) for _ in range(streams)))


async def _flood(url: str, seconds: float, message: str | bytes) -> None:
    ends = time.perf_counter() + seconds
    async with connect(url, compression=None, ping_interval=None) as socket:
        await send_config(socket, enable_partial=False)
        reading = asyncio.create_task(_discard_frames(socket))
        with suppress(ConnectionClosed):
            while time.perf_counter() < ends:
                for _ in range(_BURST):
                    await socket.send(message)
                await asyncio.sleep(_PAUSE)
        reading.cancel()


async def _discard_frames(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass


def main() -> None:
    """Run the clients that the arguments name."""
    kind, url, streams, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    if kind == "flood":
        asyncio.run(flood_server(url, streams, seconds, FLOOD_MESSAGES[sys.argv[5]]))
    else:
        print(asyncio.run(run_scripts(url, build_crowd_scripts(streams, seconds))).to_json(), flush=True)


if __name__ == "__main__":
    main()
