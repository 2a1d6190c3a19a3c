"""docs/protocol.md, section 2."""

from __future__ import annotations

import numpy as np

from conformance.line import (
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
async def base64_is_float32_mono_at_the_sample_rate(line: ClientStream) -> None:
    await line.send(build_audio_frame(build_speech("one", "two")))
    assert check_transcript(await send_commit(line)) == "one two"


@stream_case("P1.6", "P2.2")
async def a_binary_message_is_the_same_audio(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    audio = build_speech(*SIX_WORDS)
    await line.send(audio)
    raw = await send_commit(line)
    await line.send({"type": "reset"})
    await receive_until(line, "status")
    await line.send(build_audio_frame(audio))
    assert await send_commit(line) == raw


@stream_case("P2.3")
async def s16le_is_sixteen_bit_integers(line: ClientStream) -> None:
    await send_config(line, audio_format="s16le")
    samples = np.frombuffer(build_speech("one", "two"), "<f4")
    await line.send((samples * 32_768).astype("<i2").tobytes())
    assert check_transcript(await send_commit(line)) == "one two"


@stream_case("P2.4")
async def channels_are_interleaved_and_averaged(line: ClientStream) -> None:
    await send_config(line, channels=2)
    samples = np.frombuffer(build_speech("one", "two"), "<f4")
    stereo = np.stack([samples * 1.5, samples * 0.5], axis=1)
    await line.send(stereo.astype("<f4").tobytes())
    frames = await send_commit(line)
    assert check_transcript(frames) == "one two"
    assert filter_finals(frames)[0]["segment_end"] == 0.8


@stream_case("P2.5")
async def times_are_seconds_of_the_clients_audio_at_any_rate(line: ClientStream) -> None:
    for rate in (8_000, 44_100, 48_000, 192_000):
        await send_config(line, sample_rate=rate, enable_partial=False)
        await line.send(build_speech(*SIX_WORDS, rate=rate))
        frames = await send_commit(line)
        assert check_transcript(frames) == " ".join(SIX_WORDS)
        assert [f["segment_end"] for f in filter_finals(frames)] == [2.0, 2.4]
        await line.send({"type": "reset"})
        await receive_until(line, "status")


@stream_case("P2.6")
async def bad_base64_is_told_and_dropped(line: ClientStream) -> None:
    for data in ("?", "AAAA*AAA", "AAA", "AAAAAA=A", 5, None, "-_-_"):
        assert (await send_and_receive(line, {"type": "audio", "data": data}))["code"] == "bad_audio", data
    await line.send(build_audio_frame(build_speech("one")))
    assert check_transcript(await send_commit(line)) == "one"


@stream_case("P2.7")
async def a_length_that_is_not_whole_samples_is_told_and_dropped(line: ClientStream) -> None:
    error = await send_and_receive(line, b"abc")
    assert (error["code"], error["length"], error["multiple_of"]) == ("bad_audio", 3, 4)
    await send_config(line, channels=2)
    assert (await send_and_receive(line, bytes(12)))["code"] == "bad_audio"
    await check_alive(line)


@stream_case("P2.8")
async def nan_and_infinity_are_told_and_dropped(line: ClientStream) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert (await send_and_receive(line, np.array([0.5, value], "<f4").tobytes()))["code"] == "bad_audio"
    await check_alive(line)


@stream_case("P2.9")
async def what_is_too_loud_is_clipped(line: ClientStream) -> None:
    await send_config(line, model="foo")
    await line.send((np.frombuffer(build_sound(2.0), "<f4") * 1000).tobytes())
    assert check_transcript(await send_commit(line)) == "foo"


@stream_case("P2.10", "P7.9")
async def a_message_over_8_mib_is_told_and_ends_the_stream(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    await line.send(build_speech("one"))
    await line.send(bytes(EIGHT_MIB + 4))
    frames = await receive_until(line, "error")
    assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
    assert (frames[-1]["code"], frames[-1]["limit"]) == ("frame_too_large", 8_388_608)
    assert await line.receive() == {"type": "close", "code": 1009}


@stream_case("P2.10")
async def a_message_of_8_mib_is_heard(line: ClientStream) -> None:
    await send_config(line, sample_rate=192_000, enable_partial=False)
    await line.send(build_silence(EIGHT_MIB / 4 / 192_000, 192_000))
    assert check_transcript(await send_commit(line)) == ""


@stream_case("P2.10", transports=SERVER_TRANSPORTS)
async def a_text_over_8_mib_in_utf_8_is_too_large_too(line: ClientStream) -> None:
    await line.send('{"type":"ping","é":"' + "é" * (EIGHT_MIB // 2) + '"}')
    assert (await receive_until(line, "error"))[-1]["code"] == "frame_too_large"
    assert await line.receive() == {"type": "close", "code": 1009}


@stream_case("P2.11")
async def audio_before_any_config_is_transcribed_with_the_defaults(line: ClientStream) -> None:
    await line.send(build_speech(*SIX_WORDS))
    frames = await send_commit(line)
    assert check_transcript(frames) == " ".join(SIX_WORDS)
    assert [f["segment_end"] for f in filter_finals(frames)] == [2.0, 2.4]


@stream_case("P2.12")
async def how_the_audio_is_cut_changes_no_final(line: ClientStream) -> None:
    audio = build_speech(*SIX_WORDS * 15, ("", 4.0))
    said = []
    for size in (len(audio), 1_280):
        await send_config(line, enable_partial=False)
        for start in range(0, len(audio), size):
            await line.send(audio[start : start + size])
        said.append(await send_commit(line))
        await line.send({"type": "reset"})
        await receive_until(line, "status")
    assert said[0] == said[1]
    assert check_transcript(said[0]) == " ".join(SIX_WORDS * 15)


@stream_case("P2.13")
async def a_message_without_samples_does_nothing(line: ClientStream) -> None:
    await line.send(b"")
    await line.send(build_audio_frame(b""))
    assert await send_commit(line) == [{"type": "full_transcript", "text": ""}]


@server_case("P2.12")
async def forty_seconds_in_one_message_are_as_many_finals_as_in_many(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, model="foo", enable_partial=False)
        await line.send(build_sound(40.0))
        frames = filter_finals(await send_commit(line))
    assert [f["segment_end"] for f in frames] == [2.0 + 1.5 * n for n in range(26)] + [40.0]
    assert read_position(frames[1]) == (2, 2.0, 3.5, 0.5, 1.5, 3.5, 2.0, 1.5, 3.5)
