"""The library façade: the seed's example and what a caller may rely on."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.embed import ParakeetCoreTranscriber, StreamingConfig
from echoic.engines.scripted import STATEFUL, ScriptedEngine, draw_words
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build_silence(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    return np.zeros(round(seconds * rate), np.float32)


def build_transcriber(text: str) -> ParakeetCoreTranscriber:
    return ParakeetCoreTranscriber(decode_fn=lambda _audio, _rate: text)


async def test_audio_and_flush_give_a_partial_and_a_final() -> None:
    config = StreamingConfig(
        sample_rate=16000,
        chunk_duration=2.0,
        overlap_duration=0.5,
        model="parakeet",
        model_variant="standard",
        enable_partial=True,
    )
    tx = ParakeetCoreTranscriber(config, decode_fn=lambda _audio, _rate: "hello")
    partial = await tx.process_audio_chunk(build_silence(1.5))
    assert partial is not None
    assert (partial["type"], partial["text"], partial["segment_end"]) == ("partial", "hello", 1.5)
    final = await tx.flush()
    assert final is not None
    assert (final["type"], final["segment_start"], final["segment_end"]) == ("final", 0.0, 1.5)


async def test_positions_at_ten_samples_per_second() -> None:
    config = StreamingConfig(sample_rate=10, chunk_duration=1.0, overlap_duration=0.2)
    tx = ParakeetCoreTranscriber(config, decode_fn=lambda _audio, _rate: "foo")
    first = await tx.process_audio_chunk(np.zeros(15, np.float32))
    second = await tx.process_audio_chunk(np.zeros(10, np.float32))
    assert first is not None
    assert second is not None
    assert (first["type"], first["segment_id"], first["cumulative_audio"]) == ("final", 1, 1.0)
    assert (second["type"], second["segment_id"]) == ("final", 2)
    assert (second["chunk_start"], second["segment_start"], second["segment_end"]) == (0.8, 1.0, 1.8)


async def test_replacements_are_applied() -> None:
    config = StreamingConfig(vocabulary={"replacements": {"phase or": "Phasor"}})
    tx = ParakeetCoreTranscriber(config, decode_fn=lambda _audio, _rate: "the phase or.")
    await tx.process_audio_chunk(build_silence(2.0))
    await tx.flush()
    assert tx.get_full_transcript() == "the Phasor."


def test_an_invalid_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"terms\[0\] must be text"):
        StreamingConfig(vocabulary={"terms": [None]})


async def test_decode_fn_receives_float32_and_the_rate() -> None:
    seen: list[tuple[str, int, int]] = []

    def decode(audio: NDArray[np.float32], rate: int) -> str:
        audio[:] = 0  # a caller's decoder may work in place
        seen.append((str(audio.dtype), audio.size, rate))
        return "x"

    tx = ParakeetCoreTranscriber(StreamingConfig(sample_rate=8_000), decode_fn=decode)
    await tx.process_audio_chunk(build_silence(2.0, 8_000).astype(np.float64))
    assert seen == [("float32", 16_000, 8_000)]


async def test_further_frames_are_returned_by_later_calls() -> None:
    tx = build_transcriber("foo")
    first = await tx.process_audio_chunk(build_silence(8.0))
    assert first is not None
    assert first["segment_id"] == 1
    second = await tx.process_audio_chunk(build_silence(0.1))
    assert second is not None
    assert second["segment_id"] == 2
    assert [frame["segment_id"] for frame in tx.frames()] == [3, 4, 5]
    assert tx.frames() == []


async def test_the_transcript_joins_all_finals_until_a_reset() -> None:
    tx = build_transcriber("foo")
    await tx.process_audio_chunk(build_silence(3.5))
    await tx.flush()
    await tx.process_audio_chunk(build_silence(0.4))
    await tx.flush()
    assert tx.get_full_transcript() == "foo foo foo"
    await tx.reset()
    assert tx.get_full_transcript() == ""
    frame = await tx.process_audio_chunk(build_silence(2.0))
    assert frame is not None
    assert (frame["segment_id"], frame["segment_start"]) == (1, 0.0)


async def test_a_flush_without_new_audio_returns_none() -> None:
    tx = build_transcriber("foo")
    await tx.process_audio_chunk(build_silence(2.0))
    assert await tx.flush() is None


async def test_a_blocking_decode_fn_does_not_block_the_loop() -> None:
    started, go_on = threading.Event(), threading.Event()

    def decode(_audio: object, _rate: int) -> str:
        started.set()
        assert go_on.wait(WAIT_SECONDS)
        return "late"

    tx = ParakeetCoreTranscriber(decode_fn=decode)
    task = asyncio.create_task(tx.process_audio_chunk(build_silence(2.0)))
    assert await asyncio.to_thread(started.wait, WAIT_SECONDS)
    go_on.set()  # reached while the decoder is inside its call
    frame = await task
    assert frame is not None
    assert frame["text"] == "late"


async def test_a_call_continues_after_a_cancelled_one() -> None:
    go_on = threading.Event()

    def decode(_audio: object, _rate: int) -> str:
        assert go_on.wait(WAIT_SECONDS)
        return "foo"

    tx = ParakeetCoreTranscriber(StreamingConfig(enable_partial=False), decode_fn=decode)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tx.process_audio_chunk(build_silence(20.0)), 0.05)
    go_on.set()
    await tx.process_audio_chunk(build_silence(0.5))
    tx.frames()
    assert tx.get_full_transcript() == " ".join(["foo"] * 13)


async def test_stop_iteration_in_decode_fn_is_a_failure() -> None:
    answers = iter(["one"])
    tx = ParakeetCoreTranscriber(
        StreamingConfig(enable_partial=False), decode_fn=lambda _audio, _rate: next(answers)
    )
    await tx.process_audio_chunk(build_silence(2.0))
    frame = await tx.process_audio_chunk(build_silence(1.5))
    assert frame is not None
    assert frame["code"] == "decode_failed"


async def test_decode_fn_may_be_a_coroutine_function() -> None:
    async def decode(_audio: object, _rate: int) -> str:
        await asyncio.sleep(0)
        return "awaited"

    frame = await ParakeetCoreTranscriber(decode_fn=decode).process_audio_chunk(build_silence(2.0))
    assert frame is not None
    assert frame["text"] == "awaited"


async def test_an_exception_of_decode_fn_is_an_error_frame() -> None:
    def decode(_audio: object, _rate: int) -> str:
        raise RuntimeError("CUDA out of memory")

    tx = ParakeetCoreTranscriber(StreamingConfig(enable_partial=False), decode_fn=decode)
    frame = await tx.process_audio_chunk(build_silence(2.0))
    assert frame is not None
    assert (frame["type"], frame["code"], frame["start"], frame["end"]) == (
        "error",
        "decode_failed",
        0.0,
        2.0,
    )
    assert "CUDA" not in str(frame)
    assert tx.get_full_transcript() == ""


async def test_decode_fn_must_return_text() -> None:
    tx = ParakeetCoreTranscriber(decode_fn=lambda _audio, _rate: None)  # type: ignore[arg-type,return-value]
    await tx.process_audio_chunk(build_silence(0.7))
    frame = await tx.flush()
    assert frame is not None
    assert frame["code"] == "decode_failed"


async def test_an_engine_can_be_used_instead_of_decode_fn() -> None:
    spoken = ["one", "two", "two", "three", "four", "five", "six", "seven"]
    tx = ParakeetCoreTranscriber(engine=ScriptedEngine(STATEFUL))
    await tx.process_audio_chunk(draw_words(spoken))
    await tx.flush()
    assert tx.get_full_transcript() == " ".join(spoken)


@pytest.mark.parametrize(
    "audio", [np.zeros(4, np.int16), np.zeros((2, 4), np.float32), np.zeros((), np.float32), ["a"]]
)
async def test_audio_must_be_a_one_dimensional_float_array(audio: object) -> None:
    with pytest.raises(TypeError, match="floats of shape"):
        await build_transcriber("foo").process_audio_chunk(audio)  # type: ignore[arg-type]


async def test_nan_samples_are_an_error_frame() -> None:
    frame = await build_transcriber("foo").process_audio_chunk(np.array([np.nan], np.float32))
    assert frame is not None
    assert frame["code"] == "bad_audio"


@pytest.mark.parametrize(
    "settings",
    [{"sample_rate": 0}, {"chunk_duration": 0.0}, {"overlap_duration": 2.0}, {"overlap_duration": -0.1}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        StreamingConfig(**settings)  # type: ignore[arg-type]


def test_either_decode_fn_or_engine_is_needed() -> None:
    with pytest.raises(ValueError, match="either decode_fn or engine"):
        ParakeetCoreTranscriber()


async def test_a_closed_transcriber_raises() -> None:
    tx = build_transcriber("foo")
    await tx.close()
    with pytest.raises(RuntimeError, match="closed"):
        await tx.process_audio_chunk(build_silence(1.0))


def test_the_compatible_import_path_leads_here() -> None:
    path = "tldw_Server_API.app.core.Ingestion_Media_Processing.Audio.Parakeet_Core_Streaming"
    assert importlib.import_module(f"{path}.transcriber").ParakeetCoreTranscriber is ParakeetCoreTranscriber
    assert importlib.import_module(f"{path}.config").StreamingConfig is StreamingConfig
    package = importlib.import_module("tldw_Server_API")
    assert package.__file__ is None, "a namespace: a real tldw_server beside it is found as well"
