"""docs/protocol.md, section 2."""

from __future__ import annotations

import numpy as np

from conformance.client_api import (
    SERVER_TRANSPORTS,
    ClientStream,
    ConformanceServer,
    build_audio_frame,
    build_silence,
    build_sound,
    build_speech,
    check_alive,
    check_transcript,
    filter_finals,
    read_position,
    receive_until,
    send_and_receive,
    send_commit,
    send_config,
    server_case,
    stream_case,
)
from echoic.protocol.codec import MAX_MESSAGE_BYTES

EIGHT_MIB = MAX_MESSAGE_BYTES
SIX_WORDS = ("one", "two", "three", "four", "five", "six")


@stream_case("P2.1")
async def base64_is_float32_mono_at_the_sample_rate(stream: ClientStream) -> None:
    await stream.send(build_audio_frame(build_speech("one", "two")))
    assert check_transcript(await send_commit(stream)) == "one two"


@stream_case("P1.6", "P2.2")
async def a_binary_message_is_the_same_audio(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    audio = build_speech(*SIX_WORDS)
    await stream.send(audio)
    raw = await send_commit(stream)
    await stream.send({"type": "reset"})
    await receive_until(stream, "status")
    await stream.send(build_audio_frame(audio))
    assert await send_commit(stream) == raw


@stream_case("P2.3")
async def s16le_is_sixteen_bit_integers(stream: ClientStream) -> None:
    await send_config(stream, audio_format="s16le")
    samples = np.frombuffer(build_speech("one", "two"), "<f4")
    await stream.send((samples * 32_768).astype("<i2").tobytes())
    assert check_transcript(await send_commit(stream)) == "one two"


@stream_case("P2.4")
async def channels_are_interleaved_and_averaged(stream: ClientStream) -> None:
    await send_config(stream, channels=2)
    samples = np.frombuffer(build_speech("one", "two"), "<f4")
    stereo = np.stack([samples * 1.5, samples * 0.5], axis=1)
    await stream.send(stereo.astype("<f4").tobytes())
    frames = await send_commit(stream)
    assert check_transcript(frames) == "one two"
    assert filter_finals(frames)[0]["segment_end"] == 0.8


@stream_case("P2.5")
async def times_are_seconds_at_any_sample_rate(stream: ClientStream) -> None:
    for rate in (8_000, 44_100, 48_000, 192_000):
        await send_config(stream, sample_rate=rate, enable_partial=False)
        await stream.send(build_speech(*SIX_WORDS, rate=rate))
        frames = await send_commit(stream)
        assert check_transcript(frames) == " ".join(SIX_WORDS)
        assert [f["segment_end"] for f in filter_finals(frames)] == [2.0, 2.4]
        await stream.send({"type": "reset"})
        await receive_until(stream, "status")


@stream_case("P2.6")
async def bad_base64_is_an_error_and_dropped(stream: ClientStream) -> None:
    for data in ("?", "AAAA*AAA", "AAA", "AAAAAA=A", 5, None, "-_-_"):
        assert (await send_and_receive(stream, {"type": "audio", "data": data}))["code"] == "bad_audio", data
    await stream.send(build_audio_frame(build_speech("one")))
    assert check_transcript(await send_commit(stream)) == "one"


@stream_case("P2.7")
async def an_incomplete_sample_is_an_error_and_dropped(stream: ClientStream) -> None:
    error = await send_and_receive(stream, b"abc")
    assert (error["code"], error["length"], error["multiple_of"]) == ("bad_audio", 3, 4)
    await send_config(stream, channels=2)
    assert (await send_and_receive(stream, bytes(12)))["code"] == "bad_audio"
    await check_alive(stream)


@stream_case("P2.8")
async def nan_and_infinity_are_errors_and_dropped(stream: ClientStream) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert (await send_and_receive(stream, np.array([0.5, value], "<f4").tobytes()))[
            "code"
        ] == "bad_audio"
    await check_alive(stream)


@stream_case("P2.9")
async def values_beyond_full_scale_are_clipped(stream: ClientStream) -> None:
    await send_config(stream, model="foo")
    await stream.send((np.frombuffer(build_sound(2.0), "<f4") * 1000).tobytes())
    assert check_transcript(await send_commit(stream)) == "foo"


@stream_case("P2.10", "P7.9")
async def a_message_over_8_mib_ends_the_stream(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech("one"))
    await stream.send(bytes(EIGHT_MIB + 4))
    frames = await receive_until(stream, "error")
    assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
    assert (frames[-1]["code"], frames[-1]["limit"]) == ("frame_too_large", 8_388_608)
    assert await stream.receive() == {"type": "close", "code": 1009}


@stream_case("P2.10")
async def a_message_of_8_mib_is_processed(stream: ClientStream) -> None:
    await send_config(stream, sample_rate=192_000, enable_partial=False)
    await stream.send(build_silence(EIGHT_MIB / 4 / 192_000, 192_000))
    assert check_transcript(await send_commit(stream)) == ""


@stream_case("P2.10", transports=SERVER_TRANSPORTS)
async def a_text_over_8_mib_in_utf_8_is_too_large_too(stream: ClientStream) -> None:
    await stream.send('{"type":"ping","é":"' + "é" * (EIGHT_MIB // 2) + '"}')
    assert (await receive_until(stream, "error"))[-1]["code"] == "frame_too_large"
    assert await stream.receive() == {"type": "close", "code": 1009}


@stream_case("P2.11")
async def audio_before_any_config_is_transcribed_with_the_defaults(stream: ClientStream) -> None:
    await stream.send(build_speech(*SIX_WORDS))
    frames = await send_commit(stream)
    assert check_transcript(frames) == " ".join(SIX_WORDS)
    assert [f["segment_end"] for f in filter_finals(frames)] == [2.0, 2.4]


@stream_case("P2.12")
async def how_the_audio_is_cut_changes_no_final(stream: ClientStream) -> None:
    audio = build_speech(*SIX_WORDS * 15, ("", 4.0))
    said = []
    for size in (len(audio), 1_280):
        await send_config(stream, enable_partial=False)
        for start in range(0, len(audio), size):
            await stream.send(audio[start : start + size])
        said.append(await send_commit(stream))
        await stream.send({"type": "reset"})
        await receive_until(stream, "status")
    assert said[0] == said[1]
    assert check_transcript(said[0]) == " ".join(SIX_WORDS * 15)


@stream_case("P2.13")
async def a_message_without_samples_does_nothing(stream: ClientStream) -> None:
    await stream.send(b"")
    await stream.send(build_audio_frame(b""))
    assert await send_commit(stream) == [{"type": "full_transcript", "text": ""}]


@server_case("P2.12")
async def forty_seconds_give_the_same_finals_in_one_message(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, model="foo", enable_partial=False)
        await stream.send(build_sound(40.0))
        frames = filter_finals(await send_commit(stream))
    assert [f["segment_end"] for f in frames] == [2.0 + 1.5 * n for n in range(26)] + [40.0]
    assert read_position(frames[1]) == (2, 2.0, 3.5, 0.5, 1.5, 3.5, 2.0, 1.5, 3.5)
