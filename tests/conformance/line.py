"""What a conformance case sees of a server, and what makes a case of a function."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from echoic.engines.scripted import draw_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from conformance.house import DecodeGate

    Json = dict[str, object]
    Message = Json | bytes | str

STREAM_PATH = "/api/v1/audio/stream/transcribe"
CORE_PATH = "/core/parakeet/stream"
#: In a case's settings: a folder of the test's own.
CASE_FOLDER = object()

#: The bare session, the application in memory, a server on a real socket.
Transport = Literal["session", "memory", "socket"]
ALL_TRANSPORTS: tuple[Transport, ...] = ("session", "memory", "socket")
#: Where there is a server around the session.
SERVER_TRANSPORTS: tuple[Transport, ...] = ("memory", "socket")


class ClientStream(Protocol):
    """One stream, from the client's end."""

    async def send(self, message: Message) -> None:
        """Send a frame, binary audio, or text as it is."""

    async def receive(self) -> Json:
        """Return the next frame; the close is ``{"type": "close", "code": …}``."""


class ConformanceServer(Protocol):
    """A server with the models of ``conformance.house``."""

    gate: DecodeGate

    def open_stream(
        self, path: str = STREAM_PATH, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AbstractAsyncContextManager[ClientStream]:
        """Open a stream; leaving the context is leaving without a word."""

    async def fetch_http(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Return the status, the JSON (if it is any) and the text of an HTTP answer."""

    async def drain(self) -> None:
        """Stop as at a signal, short of ending the process."""

    async def wait_until_empty(self) -> None:
        """Wait until no stream is open."""

    async def wait_until_preloaded(self) -> None:
        """Wait until the model to be loaded first is, or cannot be."""


@dataclass(frozen=True)
class ConformanceCase:
    """One script: what it shows, and where it can be run.

    Attributes:
        name: Of its function.
        sentence_ids: Of the sentences of docs/protocol.md that it shows.
        run: The script.
        transports: Where it can be run.
        settings: Of the server.
        spends_server: Whether the server cannot be used any more afterwards.
    """

    name: str
    sentence_ids: tuple[str, ...]
    run: Callable[[ConformanceServer], Awaitable[None]]
    transports: tuple[Transport, ...] = ALL_TRANSPORTS
    settings: Mapping[str, object] = field(default_factory=dict)
    spends_server: bool = False


def stream_case(
    *sentence_ids: str, transports: tuple[Transport, ...] = ALL_TRANSPORTS, path: str = STREAM_PATH
) -> Callable[[Callable[[ClientStream], Awaitable[None]]], ConformanceCase]:
    """Make a case of a function of one stream."""

    def make(script: Callable[[ClientStream], Awaitable[None]]) -> ConformanceCase:
        async def run(door: ConformanceServer) -> None:
            async with door.open_stream(path) as line:
                await script(line)

        return ConformanceCase(script.__name__, sentence_ids, run, transports)

    return make


def server_case(
    *sentence_ids: str, spends_server: bool = False, **settings: object
) -> Callable[[Callable[[ConformanceServer], Awaitable[None]]], ConformanceCase]:
    """Make a case of a function of a server with these settings."""

    def make(script: Callable[[ConformanceServer], Awaitable[None]]) -> ConformanceCase:
        return ConformanceCase(
            script.__name__, sentence_ids, script, SERVER_TRANSPORTS, settings, spends_server
        )

    return make


def collect_cases(*modules: ModuleType) -> list[ConformanceCase]:
    """Return the cases that modules hold."""
    return [item for module in modules for item in vars(module).values() if isinstance(item, ConformanceCase)]


# ---- what scripts are made of


async def receive_until(line: ClientStream, kind: str) -> list[Json]:
    """Return the frames up to the first of this type, which is the last of them."""
    frames = [await line.receive()]
    while frames[-1]["type"] != kind:
        assert frames[-1]["type"] != "close", frames
        frames.append(await line.receive())
    return frames


async def send_and_receive(line: ClientStream, message: Message) -> Json:
    """Send a message and return the one frame that answers it."""
    await line.send(message)
    return await line.receive()


async def send_config(line: ClientStream, **values: object) -> Json:
    """Send a config and return the status, which nothing precedes."""
    status = await send_and_receive(line, {"type": "config", **values})
    assert (status["type"], status.get("state")) == ("status", "configured"), status
    return status


async def send_commit(line: ClientStream) -> list[Json]:
    """Commit and return the frames up to the transcript."""
    await line.send({"type": "commit"})
    return await receive_until(line, "full_transcript")


async def check_alive(line: ClientStream) -> None:
    """See that the session goes on."""
    assert await send_and_receive(line, {"type": "ping"}) == {"type": "pong"}


def build_speech(*words: str | tuple[str, float], rate: int = 16_000) -> bytes:
    """Return audio that the scripted models hear as these words."""
    return draw_words(words, rate=rate).astype("<f4").tobytes()


def build_sound(seconds: float, rate: int = 16_000) -> bytes:
    """Return audio that is no silence."""
    return np.full(round(seconds * rate), 0.25, "<f4").tobytes()


def build_silence(seconds: float, rate: int = 16_000) -> bytes:
    """Return zeros."""
    return bytes(4 * round(seconds * rate))


def build_audio_frame(samples: bytes) -> Json:
    """Return an audio frame."""
    return {"type": "audio", "data": base64.b64encode(samples).decode()}


def filter_finals(frames: list[Json]) -> list[Json]:
    """Return the finals among frames."""
    return [frame for frame in frames if frame["type"] == "final"]


def check_list(value: object) -> list[dict[str, object]]:
    """Return a frame's list."""
    assert isinstance(value, list)
    return value


def read_position(frame: Json) -> tuple[object, ...]:
    """Return a final's place: id, segment, overlap, chunk, its length, what is new, the clock."""
    keys = ("segment_id", "segment_start", "segment_end", "overlap", "chunk_start", "chunk_end")
    return tuple(frame[key] for key in (*keys, "chunk_duration", "new_audio_duration", "cumulative_audio"))


def check_transcript(frames: list[Json]) -> object:
    """Return the transcript, after seeing that it is the finals' texts joined."""
    assert frames[-1]["text"] == " ".join(str(final["text"]) for final in filter_finals(frames))
    return frames[-1]["text"]
