"""Client API of conformance cases, decorators that define cases, and helpers for scripts."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from conformance.models import DecodeGate

    Json = dict[str, object]
    Message = Json | bytes | str

CORE_PATH = "/core/parakeet/stream"
#: Placeholder in a case's settings for a temporary folder.
CASE_FOLDER = object()

#: Transports: the bare session, the app in memory, a server on a socket.
Transport = Literal["session", "memory", "socket"]
ALL_TRANSPORTS: tuple[Transport, ...] = ("session", "memory", "socket")
#: Transports with a server around the session.
SERVER_TRANSPORTS: tuple[Transport, ...] = ("memory", "socket")


class ClientStream(Protocol):
    """The client's end of one stream."""

    async def send(self, message: Message) -> None:
        """Send a frame, binary audio, or text as it is."""

    async def receive(self) -> Json:
        """Return the next frame; the close is ``{"type": "close", "code": …}``."""


class ConformanceServer(Protocol):
    """A server with the models of ``conformance.models``."""

    gate: DecodeGate

    def open_stream(
        self, path: str = STREAM_PATH, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AbstractAsyncContextManager[ClientStream]:
        """Open a stream; leaving the context drops the connection without a close."""

    async def fetch_http(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Return status, JSON (empty if it is none) and text of an HTTP response."""

    async def drain(self) -> None:
        """Drain the server as after a signal, without ending the process."""

    async def wait_until_empty(self) -> None:
        """Wait until no stream is open."""

    async def wait_until_preloaded(self) -> None:
        """Wait until preloading the default model succeeded or failed."""


@dataclass(frozen=True)
class ConformanceCase:
    """A script that shows sentences of docs/protocol.md.

    Attributes:
        name: Name of the script's function.
        sentence_ids: Ids of the sentences.
        run: The script.
        transports: Transports that it runs on.
        settings: Settings of the server.
        spends_server: Whether the server cannot be reused afterwards.
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
    """Define a case by a script for one stream."""

    def make(script: Callable[[ClientStream], Awaitable[None]]) -> ConformanceCase:
        async def run(server: ConformanceServer) -> None:
            async with server.open_stream(path) as stream:
                await script(stream)

        return ConformanceCase(script.__name__, sentence_ids, run, transports)

    return make


def server_case(
    *sentence_ids: str, spends_server: bool = False, **settings: object
) -> Callable[[Callable[[ConformanceServer], Awaitable[None]]], ConformanceCase]:
    """Define a case by a script for a server with these settings."""

    def make(script: Callable[[ConformanceServer], Awaitable[None]]) -> ConformanceCase:
        return ConformanceCase(
            script.__name__, sentence_ids, script, SERVER_TRANSPORTS, settings, spends_server
        )

    return make


def collect_cases(*modules: ModuleType) -> list[ConformanceCase]:
    """Return all cases of modules."""
    return [item for module in modules for item in vars(module).values() if isinstance(item, ConformanceCase)]


# ---- helpers for scripts


async def receive_until(stream: ClientStream, kind: str) -> list[Json]:
    """Return the frames up to and including the first of this type."""
    frames = [await stream.receive()]
    while frames[-1]["type"] != kind:
        assert frames[-1]["type"] != "close", frames
        frames.append(await stream.receive())
    return frames


async def send_and_receive(stream: ClientStream, message: Message) -> Json:
    """Send a message and return the next frame."""
    await stream.send(message)
    return await stream.receive()


async def send_config(stream: ClientStream, **values: object) -> Json:
    """Send a config and return the status, which must come first."""
    status = await send_and_receive(stream, {"type": "config", **values})
    assert (status["type"], status.get("state")) == ("status", "configured"), status
    return status


async def send_commit(stream: ClientStream) -> list[Json]:
    """Commit and return the frames up to the transcript."""
    await stream.send({"type": "commit"})
    return await receive_until(stream, "full_transcript")


async def check_alive(stream: ClientStream) -> None:
    """Check that the session continues."""
    assert await send_and_receive(stream, {"type": "ping"}) == {"type": "pong"}


def build_speech(*words: str | tuple[str, float], rate: int = 16_000) -> bytes:
    """Return audio that the scripted models recognize as these words."""
    return draw_words(words, rate=rate).astype("<f4").tobytes()


def build_sound(seconds: float, rate: int = 16_000) -> bytes:
    """Return audio that is not silent."""
    return np.full(round(seconds * rate), 0.25, "<f4").tobytes()


def build_silence(seconds: float, rate: int = 16_000) -> bytes:
    """Return silence."""
    return bytes(4 * round(seconds * rate))


def build_audio_frame(samples: bytes) -> Json:
    """Return an audio frame."""
    return {"type": "audio", "data": base64.b64encode(samples).decode()}


def filter_finals(frames: list[Json]) -> list[Json]:
    """Return the finals of a list of frames."""
    return [frame for frame in frames if frame["type"] == "final"]


def check_list(value: object) -> list[dict[str, object]]:
    """Return a value of a frame as a list."""
    assert isinstance(value, list)
    return value


def read_position(frame: Json) -> tuple[object, ...]:
    """Return the position of a final: id, segment, overlap, chunk, durations, cumulative audio."""
    keys = ("segment_id", "segment_start", "segment_end", "overlap", "chunk_start", "chunk_end")
    return tuple(frame[key] for key in (*keys, "chunk_duration", "new_audio_duration", "cumulative_audio"))


def check_transcript(frames: list[Json]) -> object:
    """Return the transcript after checking that it equals the joined finals."""
    assert frames[-1]["text"] == " ".join(str(final["text"]) for final in filter_finals(frames))
    return frames[-1]["text"]
