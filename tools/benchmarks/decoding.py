"""Decodes a recording through the session, as a naive join of windows, and over a socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echoic.engines.silero import SileroModel
from echoic.evaluate.offline import SAMPLE_RATE, decode_audio
from echoic.interfaces.engine import Engine, EngineRequirements, Hypothesis, Window
from echoic.session.rendering import join_words
from echoic.session.session import Session
from support.session_driver import SessionDriver

Json = dict[str, object]

#: The protocol's default window and step in samples.
_CHUNK, _STEP = 2 * SAMPLE_RATE, 3 * SAMPLE_RATE // 2


class CachingEngine:
    """An engine that decodes the same audio only once.

    Args:
        engine: The engine; its results must depend on the audio alone.
    """

    max_batch_size, max_concurrency = 1, 1

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache: dict[bytes, Hypothesis] = {}

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def requirements(self) -> EngineRequirements:
        """The engine's requirements."""
        return self._engine.requirements

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the engine's hypothesis for each window."""
        return [self._decode_once(window) for window in windows]

    def close(self) -> None:
        """Do nothing: the caller owns the engine."""

    def _decode_once(self, window: Window) -> Hypothesis:
        key = hashlib.blake2b(np.ascontiguousarray(window.audio).tobytes(), digest_size=16).digest()
        if key not in self._cache:
            self._cache[key] = self._engine.decode([window])[0]
        return self._cache[key]


@dataclass(slots=True)
class StreamedRecording:
    """The frames of a session for one recording."""

    #: Finals and partials in order, as JSON.
    frames: list[Json] = field(default_factory=list)
    #: Seconds of audio that the engine decoded.
    decoded_seconds: float = 0.0

    @property
    def finals(self) -> list[Json]:
        """The final frames."""
        return [frame for frame in self.frames if frame["type"] == "final"]

    @property
    def texts(self) -> list[str]:
        """The finals' texts."""
        return [str(frame["text"]) for frame in self.finals]


def stream_through_session(
    engine: Engine, silero: SileroModel, audio: NDArray[np.float32], message: float, *, partials: bool
) -> StreamedRecording:
    """Stream audio in messages of ``message`` seconds through a session whose decodes finish at once."""
    play = SessionDriver(engine, Session(silero.build_detector))
    play.send({"type": "config", "enable_partial": partials})
    size = max(1, round(message * SAMPLE_RATE))
    for start in range(0, len(audio), size):
        play.push_audio(audio[start : start + size])
    play.send({"type": "stop"})
    kept = [frame for frame in play.frames if frame["type"] in ("final", "partial")]
    return StreamedRecording(kept, play.decoded_seconds)


def decode_naively(engine: Engine, audio: NDArray[np.float32]) -> list[str]:
    """Decode windows of 2.0 s with 0.5 s of overlap separately and return their texts."""
    ends = range(_CHUNK, len(audio) + _STEP, _STEP)
    return [join_words(decode_audio(engine, audio[max(0, end - _CHUNK) : end])) for end in ends]


def stream_over_socket(url: str, audio: NDArray[np.float32], message: float) -> list[Json]:
    """Stream audio as fast as the server takes it, and return the finals."""
    return asyncio.run(_stream_over_socket(url, audio, message))


async def _stream_over_socket(url: str, audio: NDArray[np.float32], message: float) -> list[Json]:
    size = max(1, round(message * SAMPLE_RATE))
    async with connect(url, compression=None, ping_interval=None) as socket, asyncio.timeout(300):
        reader = asyncio.create_task(_collect_finals(socket))
        await socket.send('{"type":"config","model":"moonshine-tiny-en","enable_partial":false}')
        for start in range(0, len(audio), size):
            await socket.send(audio[start : start + size].astype("<f4").tobytes())
        await socket.send('{"type":"stop"}')
        return await reader


async def _collect_finals(socket: ClientConnection) -> list[Json]:
    found: list[Json] = []
    try:
        async for message in socket:
            frame: Json = json.loads(message)
            if frame["type"] == "final":
                found.append(frame)
    except ConnectionClosed:
        pass
    return found
