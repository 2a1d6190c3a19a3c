"""Contract of the client: the same tests for the async and the blocking client."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from echoic import client
from echoic.client import Final, FullTranscript, ReceivedFrame, ServerError, UnreadableAudio, blocking
from echoic.engines.scripted import VOCABULARY, draw_words
from support.fake_server import FakePeer, build_final_json, run_fake_server
from support.server_process import ServerProcess

WORDS = VOCABULARY[:8]
TEXT = " ".join(WORDS)
SOUND = draw_words(WORDS)


class AnyStream(Protocol):
    """A stream as the tests use it."""

    async def send(self, samples: NDArray[Any]) -> None: ...
    async def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None: ...
    async def commit(self) -> str: ...
    async def reset(self) -> None: ...
    async def ping(self) -> float: ...
    async def stop(self) -> str: ...
    async def close(self) -> None: ...
    async def configure(self, values: Mapping[str, object]) -> None: ...
    def frames(self) -> list[ReceivedFrame]: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> ReceivedFrame: ...


class ThreadedStream:
    """A blocking stream, called in threads."""

    def __init__(self, stream: blocking.BlockingStream) -> None:
        self._stream = stream

    async def send(self, samples: NDArray[Any]) -> None:
        await asyncio.to_thread(self._stream.send, samples)

    async def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None:
        await asyncio.to_thread(partial(self._stream.send_file, source, speed=speed))

    async def commit(self) -> str:
        return await asyncio.to_thread(self._stream.commit)

    async def reset(self) -> None:
        await asyncio.to_thread(self._stream.reset)

    async def ping(self) -> float:
        return await asyncio.to_thread(self._stream.ping)

    async def stop(self) -> str:
        return await asyncio.to_thread(self._stream.stop)

    async def close(self) -> None:
        await asyncio.to_thread(self._stream.close)

    async def configure(self, values: Mapping[str, object]) -> None:
        await asyncio.to_thread(self._stream.configure, values)

    def frames(self) -> list[ReceivedFrame]:
        return self._stream.frames()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedFrame:
        frame = await asyncio.to_thread(next, self._stream, None)
        if frame is None:
            raise StopAsyncIteration
        return frame


@asynccontextmanager
async def connect_blocking(url: str, **options: Any) -> AsyncIterator[AnyStream]:  # noqa: ANN401
    stream = await asyncio.to_thread(partial(blocking.connect, url, **options))
    with stream:
        yield ThreadedStream(stream)


async def transcribe_blocking(
    url: str,
    audio: Iterable[NDArray[Any]] | str,
    **options: Any,  # noqa: ANN401
) -> list[Final]:
    return await asyncio.to_thread(partial(blocking.transcribe, url, audio, **options))


class AnyClient(Protocol):
    """A client as the tests use it."""

    connect: Callable[..., AbstractAsyncContextManager[AnyStream]]
    transcribe: Callable[..., Awaitable[list[Final]]]


class AsyncClient:
    """``echoic.client``."""

    connect = staticmethod(client.connect)
    transcribe = staticmethod(client.transcribe)


class BlockingClient:
    """``echoic.client.blocking``."""

    connect = staticmethod(connect_blocking)
    transcribe = staticmethod(transcribe_blocking)


@pytest.fixture(params=[AsyncClient, BlockingClient], ids=["async", "blocking"])
def any_client(request: pytest.FixtureRequest) -> AnyClient:
    found: AnyClient = request.param()
    return found


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


def write_wave(samples: NDArray[np.float32], rate: int = 16_000) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32768).astype("<i2").tobytes())
    file.seek(0)
    return file


async def test_commit_and_stop_deliver_all_words(any_client: AnyClient, server_address: str) -> None:
    async with any_client.connect(server_address, model="scripted", enable_partial=False) as stream:
        await stream.send(SOUND)
        assert await stream.commit() == TEXT
        await stream.send(SOUND[:16_000])
        assert (await stream.stop()).startswith(WORDS[0])
        frames = [frame async for frame in stream]
    assert [type(frame) for frame in frames] == [Final, Final, FullTranscript, Final, FullTranscript]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i2", ">i2", "i4", "i1", "u1"])
async def test_samples_of_all_types_give_the_same_words(
    any_client: AnyClient, server_address: str, dtype: str
) -> None:
    kind = np.dtype(dtype)
    if kind.kind == "u":
        samples = np.round(SOUND * 128 + 128).astype(kind)
    else:
        full = 1.0 if kind.kind == "f" else 2.0 ** (8 * kind.itemsize - 1)
        samples = (SOUND * full).astype(kind)
    async with any_client.connect(server_address, model="scripted") as stream:
        await stream.send(samples)
        assert await stream.commit() == TEXT
        await stream.send(np.stack([samples] * 2, axis=1))
        assert await stream.commit() == TEXT


@pytest.mark.parametrize(
    ("samples", "error", "sentence"),
    [
        (np.zeros((2, 16_000), np.float32), ValueError, r"send samples\.T"),
        (np.zeros((2, 2, 2), np.float32), ValueError, "must have the shape"),
        (np.zeros((5, 0), np.float32), ValueError, "must have the shape"),
        (np.zeros(5, np.complex64), TypeError, "not complex64"),
        (np.zeros(5, np.int64), TypeError, "not int64"),
        (np.zeros(5, bool), TypeError, "not bool"),
        (np.array(["a"]), TypeError, "must be floats"),
    ],
)
async def test_bad_samples_raise_and_the_stream_goes_on(
    any_client: AnyClient, server_address: str, samples: NDArray[Any], error: type[Exception], sentence: str
) -> None:
    async with any_client.connect(server_address, model="scripted") as stream:
        with pytest.raises(error, match=sentence):
            await stream.send(samples)
        await stream.send(SOUND)
        assert await stream.commit() == TEXT


async def test_files_are_sent_by_path_or_open_at_any_rate(
    any_client: AnyClient, server_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "words.wav"
    file.write_bytes(write_wave(SOUND).getvalue())
    for rate in (16_000, 48_000):
        async with any_client.connect(server_address, model="scripted", sample_rate=rate) as stream:
            await stream.send_file(file)
            assert await stream.commit() == TEXT
            with file.open("rb") as opened:
                await stream.send_file(opened, speed=100.0)
                assert not opened.closed
            assert await stream.commit() == TEXT


async def test_bad_files_raise_and_the_stream_goes_on(
    any_client: AnyClient, server_address: str, tmp_path: Path
) -> None:
    async with any_client.connect(server_address, model="scripted") as stream:
        with pytest.raises(UnreadableAudio, match=r"missing\.wav cannot be opened: no such file"):
            await stream.send_file(tmp_path / "missing.wav")
        with pytest.raises(UnreadableAudio, match="The open file is not an audio or video file"):
            await stream.send_file(io.BytesIO(b"no sound"))
        await stream.send(SOUND)
        assert await stream.commit() == TEXT


async def test_transcribe_takes_arrays_and_files(
    any_client: AnyClient, server_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "words.wav"
    file.write_bytes(write_wave(SOUND).getvalue())
    for audio in ([SOUND], file, str(file), write_wave(SOUND)):
        finals = await any_client.transcribe(server_address, audio, model="scripted")
        assert " ".join(one.text for one in finals) == TEXT


async def test_frames_returns_received_frames_at_once(any_client: AnyClient, server_address: str) -> None:
    async with any_client.connect(server_address, model="scripted", enable_partial=False) as stream:
        assert stream.frames() == []
        await stream.send(SOUND)
        await stream.commit()
        assert [type(frame) for frame in stream.frames()] == [Final, Final, FullTranscript]
        assert stream.frames() == []


async def test_resets_pings_and_configs_are_answered(any_client: AnyClient, server_address: str) -> None:
    async with any_client.connect(server_address, model="scripted") as stream:
        await stream.send(SOUND)
        await stream.reset()
        assert await stream.commit() == ""
        assert await stream.ping() > 0
        with pytest.raises(ServerError) as refused:
            await stream.configure({"chunk_duration": -1})
        assert refused.value.code == "invalid_config"
        await stream.configure({"chunk_duration": 1.0})
        await stream.send(SOUND)
        assert await stream.commit() == TEXT


async def test_refusals_are_raised_by_connect(any_client: AnyClient, server_address: str) -> None:
    with pytest.raises(ServerError) as refused:
        async with any_client.connect(server_address, model="none-such"):
            pass
    assert refused.value.code == "model_unavailable"
    with pytest.raises(ServerError) as refused:
        async with any_client.connect("ws://127.0.0.1:1"):
            pass
    assert refused.value.code == "unreachable"


async def test_a_lost_connection_is_raised_after_its_frames(any_client: AnyClient) -> None:
    async def play(peer: FakePeer) -> None:
        await peer.send(build_final_json(1, "one"))
        await peer.receive_samples_until("ping")
        peer.socket.transport.abort()

    async with run_fake_server(play) as url, any_client.connect(url) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await stream.ping()
        assert isinstance(await anext(stream), Final)
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)


async def test_calls_on_a_closed_stream_raise_but_close(any_client: AnyClient, server_address: str) -> None:
    async with any_client.connect(server_address, model="scripted") as stream:
        await stream.close()
        await stream.close()
        with pytest.raises(ServerError) as refused:
            await stream.send(SOUND)
        assert refused.value.code == "closed"
        with pytest.raises(ServerError):
            await stream.commit()


async def test_a_stream_is_sent_and_read_concurrently(any_client: AnyClient, server_address: str) -> None:
    async with any_client.connect(server_address, model="scripted", enable_partial=False) as stream:

        async def read() -> str:
            return " ".join([frame.text async for frame in stream if isinstance(frame, Final)])

        reading = asyncio.create_task(read())
        for at in range(0, len(SOUND), 1600):
            await stream.send(SOUND[at : at + 1600])
        await stream.stop()
        assert await reading == TEXT


async def test_no_thread_is_left_behind(any_client: AnyClient, server_address: str) -> None:
    """Threads of the test's own pool stay; threads of the client have another name."""
    async with any_client.connect(server_address, model="scripted") as stream:
        await stream.send(SOUND)
    with pytest.raises(ServerError):
        async with any_client.connect("ws://127.0.0.1:1"):
            pass
    assert [thread.name for thread in threading.enumerate() if "echoic client" in thread.name] == []
