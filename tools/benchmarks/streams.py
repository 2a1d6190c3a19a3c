"""Clients that speak at a pace and write down what came when."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from echoic.engines.scripted import VOCABULARY, draw_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from websockets.asyncio.client import ClientConnection

RATE = 16_000
#: Seconds: the protocol's default window, and how far each window ends after the one before.
CHUNK, STEP = 2.0, 1.5
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class StreamScript:
    """How a client speaks.

    Attributes:
        audio: float32, mono, 16 kHz.
        message: Seconds of audio in a message.
        pace: Seconds of audio sent in a second; 1 is real time.
        wait: Seconds before the first message.
        binary: Raw samples; False: base64 in JSON.
        config: Keys of the config frame beside the model.
    """

    audio: NDArray[np.float32] = field(repr=False)
    message: float = 0.1
    pace: float = 1.0
    wait: float = 0.0
    binary: bool = True
    config: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class ClientResult:
    """What a client sent and got; moments in seconds of one clock.

    Attributes:
        due: When the message that completed a window was handed over, by the window's end in audio.
        finals: When a final came, by its segment's end.
        texts: The finals' texts.
        labels: Their speakers; None: nobody knows.
        codes: Codes of error frames.
    """

    due: dict[float, float] = field(default_factory=dict)
    finals: dict[float, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    @property
    def delays(self) -> list[float]:
        """Seconds from the message that completed a window to its final."""
        return [self.finals[end] - at for end, at in self.due.items() if end in self.finals]

    @property
    def missed(self) -> int:
        """Windows that were completed and brought no final."""
        return sum(end not in self.finals for end in self.due)


def draw_script(seconds: float, seed: int = 0) -> tuple[str, NDArray[np.float32]]:
    """Return words without a pause for about so many seconds, and their sound for the scripted engine."""
    count = int(seconds / 0.4)
    said = [VOCABULARY[(seed * 7 + number * 11) % len(VOCABULARY)] for number in range(count)]
    return " ".join(said), draw_words(said)


async def stream_script(url: str, script: StreamScript) -> ClientResult:
    """Stream a script, wait for everything that comes of it, and return what was heard."""
    heard = ClientResult()
    async with connect(url, compression=None, ping_interval=None, open_timeout=_PATIENCE) as socket:
        await send_config(socket, **script.config)
        reader = asyncio.create_task(_read_frames(socket, heard))
        await _send_audio(socket, script, heard)
        await socket.send('{"type":"stop"}')
        async with asyncio.timeout(_PATIENCE):
            await reader
    return heard


async def stream_script_bare(url: str, script: StreamScript) -> None:
    """Stream a script to the bare endpoint, which answers nothing."""
    async with connect(url, compression=None, ping_interval=None) as socket:
        await _send_audio(socket, script, ClientResult())


async def send_config(socket: ClientConnection, **config: object) -> None:
    """Send a config for the scripted engine and wait for its reply."""
    await socket.send(json.dumps({"type": "config", "model": "scripted", **config}))
    async with asyncio.timeout(_PATIENCE):
        while json.loads(await socket.recv()).get("state") != "configured":
            pass


async def wait_for_transcript(socket: ClientConnection) -> str:
    """Wait for the transcript that answers a commit, and return it."""
    async with asyncio.timeout(_PATIENCE):
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


async def _send_audio(socket: ClientConnection, script: StreamScript, heard: ClientResult) -> None:
    size, sent, due = round(script.message * RATE), 0, round(CHUNK * RATE)
    begin = time.perf_counter() + script.wait
    for message in encode_messages(script):
        moment = begin + sent / RATE / script.pace
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        sent = min(sent + size, len(script.audio))
        now = time.perf_counter()
        while due <= sent:
            heard.due[due / RATE] = now
            due += round(STEP * RATE)
        await socket.send(message)


async def _read_frames(socket: ClientConnection, heard: ClientResult) -> None:
    with suppress(ConnectionClosed):
        async for message in socket:
            now = time.perf_counter()
            frame = json.loads(message)
            if frame["type"] == "final":
                heard.finals[frame["segment_end"]] = now
                heard.texts.append(frame["text"])
                heard.labels.append(frame.get("speaker_id"))
            elif frame["type"] == "error":
                heard.codes.append(frame["code"])
