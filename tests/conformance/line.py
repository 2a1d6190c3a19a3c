"""What a conformance case sees of a server, and what makes a case of a function."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from echoic.engines.scripted import draw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from conformance.house import Gate

    Json = dict[str, object]
    Message = Json | bytes | str

STREAM = "/api/v1/audio/stream/transcribe"
CORE = "/core/parakeet/stream"
#: In a case's settings: a folder of the test's own.
FOLDER = object()

#: The bare session, the application in memory, a server on a real socket.
Way = Literal["session", "memory", "socket"]
ALL: tuple[Way, ...] = ("session", "memory", "socket")
#: Where there is a server around the session.
SERVED: tuple[Way, ...] = ("memory", "socket")


class Line(Protocol):
    """One stream, from the client's end."""

    async def send(self, message: Message) -> None:
        """Send a frame, binary audio, or text as it is."""

    async def receive(self) -> Json:
        """Return the next frame; the close is ``{"type": "close", "code": …}``."""


class Door(Protocol):
    """A server with the models of ``conformance.house``."""

    gate: Gate

    def open(
        self, path: str = STREAM, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AbstractAsyncContextManager[Line]:
        """Open a stream; leaving the context is leaving without a word."""

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Return the status, the JSON (if it is any) and the text of an HTTP answer."""

    async def drain(self) -> None:
        """Stop as at a signal, short of ending the process."""

    async def emptied(self) -> None:
        """Wait until no stream is open."""

    async def settled(self) -> None:
        """Wait until the model to be loaded first is, or cannot be."""


@dataclass(frozen=True)
class Case:
    """One script: what it shows, and where it can be run.

    Attributes:
        name: Of its function.
        ids: Of the sentences of docs/protocol.md that it shows.
        run: The script.
        ways: Where it can be run.
        settings: Of the server.
        spends: Whether the server cannot be used any more afterwards.
    """

    name: str
    ids: tuple[str, ...]
    run: Callable[[Door], Awaitable[None]]
    ways: tuple[Way, ...] = ALL
    settings: Mapping[str, object] = field(default_factory=dict)
    spends: bool = False


def case(
    *ids: str, ways: tuple[Way, ...] = ALL, path: str = STREAM
) -> Callable[[Callable[[Line], Awaitable[None]]], Case]:
    """Make a case of a function of one stream."""

    def make(script: Callable[[Line], Awaitable[None]]) -> Case:
        async def run(door: Door) -> None:
            async with door.open(path) as line:
                await script(line)

        return Case(script.__name__, ids, run, ways)

    return make


def served(
    *ids: str, spends: bool = False, **settings: object
) -> Callable[[Callable[[Door], Awaitable[None]]], Case]:
    """Make a case of a function of a server with these settings."""

    def make(script: Callable[[Door], Awaitable[None]]) -> Case:
        return Case(script.__name__, ids, script, SERVED, settings, spends)

    return make


def cases_of(*modules: ModuleType) -> list[Case]:
    """Return the cases that modules hold."""
    return [item for module in modules for item in vars(module).values() if isinstance(item, Case)]


# ---- what scripts are made of


async def until(line: Line, kind: str) -> list[Json]:
    """Return the frames up to the first of this type, which is the last of them."""
    frames = [await line.receive()]
    while frames[-1]["type"] != kind:
        assert frames[-1]["type"] != "close", frames
        frames.append(await line.receive())
    return frames


async def ask(line: Line, message: Message) -> Json:
    """Send a message and return the one frame that answers it."""
    await line.send(message)
    return await line.receive()


async def configure(line: Line, **values: object) -> Json:
    """Send a config and return the status, which nothing precedes."""
    status = await ask(line, {"type": "config", **values})
    assert (status["type"], status.get("state")) == ("status", "configured"), status
    return status


async def commit(line: Line) -> list[Json]:
    """Commit and return the frames up to the transcript."""
    await line.send({"type": "commit"})
    return await until(line, "full_transcript")


async def lives(line: Line) -> None:
    """See that the session goes on."""
    assert await ask(line, {"type": "ping"}) == {"type": "pong"}


def say(*words: str | tuple[str, float], rate: int = 16_000) -> bytes:
    """Return audio that the scripted models hear as these words."""
    return draw(words, rate=rate).astype("<f4").tobytes()


def sound(seconds: float, rate: int = 16_000) -> bytes:
    """Return audio that is no silence."""
    return np.full(round(seconds * rate), 0.25, "<f4").tobytes()


def silence(seconds: float, rate: int = 16_000) -> bytes:
    """Return zeros."""
    return bytes(4 * round(seconds * rate))


def in_base64(samples: bytes) -> Json:
    """Return an audio frame."""
    return {"type": "audio", "data": base64.b64encode(samples).decode()}


def finals(frames: list[Json]) -> list[Json]:
    """Return the finals among frames."""
    return [frame for frame in frames if frame["type"] == "final"]


def list_of(value: object) -> list[dict[str, object]]:
    """Return a frame's list."""
    assert isinstance(value, list)
    return value


def place(frame: Json) -> tuple[object, ...]:
    """Return a final's place: id, segment, overlap, chunk, its length, what is new, the clock."""
    keys = ("segment_id", "segment_start", "segment_end", "overlap", "chunk_start", "chunk_end")
    return tuple(frame[key] for key in (*keys, "chunk_duration", "new_audio_duration", "cumulative_audio"))


def text(frames: list[Json]) -> object:
    """Return the transcript, after seeing that it is the finals' texts joined."""
    assert frames[-1]["text"] == " ".join(str(final["text"]) for final in finals(frames))
    return frames[-1]["text"]
