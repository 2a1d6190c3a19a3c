"""docs/protocol.md, section 2."""

from __future__ import annotations

import numpy as np

from conformance.line import (
    SERVED,
    Door,
    Line,
    ask,
    case,
    commit,
    configure,
    finals,
    in_base64,
    lives,
    place,
    say,
    served,
    silence,
    sound,
    text,
    until,
)
from echoic.wire.codec import MAX_MESSAGE_BYTES

EIGHT_MIB = MAX_MESSAGE_BYTES
SIX_WORDS = ("one", "two", "three", "four", "five", "six")


@case("P2.1")
async def base64_is_float32_mono_at_the_sample_rate(line: Line) -> None:
    await line.send(in_base64(say("one", "two")))
    assert text(await commit(line)) == "one two"


@case("P1.6", "P2.2")
async def a_binary_message_is_the_same_audio(line: Line) -> None:
    await configure(line, enable_partial=False)
    audio = say(*SIX_WORDS)
    await line.send(audio)
    raw = await commit(line)
    await line.send({"type": "reset"})
    await until(line, "status")
    await line.send(in_base64(audio))
    assert await commit(line) == raw


@case("P2.3")
async def s16le_is_sixteen_bit_integers(line: Line) -> None:
    await configure(line, audio_format="s16le")
    samples = np.frombuffer(say("one", "two"), "<f4")
    await line.send((samples * 32_768).astype("<i2").tobytes())
    assert text(await commit(line)) == "one two"


@case("P2.4")
async def channels_are_interleaved_and_averaged(line: Line) -> None:
    await configure(line, channels=2)
    samples = np.frombuffer(say("one", "two"), "<f4")
    stereo = np.stack([samples * 1.5, samples * 0.5], axis=1)
    await line.send(stereo.astype("<f4").tobytes())
    frames = await commit(line)
    assert text(frames) == "one two"
    assert finals(frames)[0]["segment_end"] == 0.8


@case("P2.5")
async def times_are_seconds_of_the_clients_audio_at_any_rate(line: Line) -> None:
    for rate in (8_000, 44_100, 48_000, 192_000):
        await configure(line, sample_rate=rate, enable_partial=False)
        await line.send(say(*SIX_WORDS, rate=rate))
        frames = await commit(line)
        assert text(frames) == " ".join(SIX_WORDS)
        assert [f["segment_end"] for f in finals(frames)] == [2.0, 2.4]
        await line.send({"type": "reset"})
        await until(line, "status")


@case("P2.6")
async def bad_base64_is_told_and_dropped(line: Line) -> None:
    for data in ("?", "AAAA*AAA", "AAA", "AAAAAA=A", 5, None, "-_-_"):
        assert (await ask(line, {"type": "audio", "data": data}))["code"] == "bad_audio", data
    await line.send(in_base64(say("one")))
    assert text(await commit(line)) == "one"


@case("P2.7")
async def a_length_that_is_not_whole_samples_is_told_and_dropped(line: Line) -> None:
    error = await ask(line, b"abc")
    assert (error["code"], error["length"], error["multiple_of"]) == ("bad_audio", 3, 4)
    await configure(line, channels=2)
    assert (await ask(line, bytes(12)))["code"] == "bad_audio"
    await lives(line)


@case("P2.8")
async def nan_and_infinity_are_told_and_dropped(line: Line) -> None:
    for value in (np.nan, np.inf, -np.inf):
        assert (await ask(line, np.array([0.5, value], "<f4").tobytes()))["code"] == "bad_audio"
    await lives(line)


@case("P2.9")
async def what_is_too_loud_is_clipped(line: Line) -> None:
    await configure(line, model="foo")
    await line.send((np.frombuffer(sound(2.0), "<f4") * 1000).tobytes())
    assert text(await commit(line)) == "foo"


@case("P2.10", "P7.9")
async def a_message_over_8_mib_is_told_and_ends_the_stream(line: Line) -> None:
    await configure(line, enable_partial=False)
    await line.send(say("one"))
    await line.send(bytes(EIGHT_MIB + 4))
    frames = await until(line, "error")
    assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
    assert (frames[-1]["code"], frames[-1]["limit"]) == ("frame_too_large", 8_388_608)
    assert await line.receive() == {"type": "close", "code": 1009}


@case("P2.10")
async def a_message_of_8_mib_is_heard(line: Line) -> None:
    await configure(line, sample_rate=192_000, enable_partial=False)
    await line.send(silence(EIGHT_MIB / 4 / 192_000, 192_000))
    assert text(await commit(line)) == ""


@case("P2.10", ways=SERVED)
async def a_text_over_8_mib_in_utf_8_is_too_large_too(line: Line) -> None:
    await line.send('{"type":"ping","é":"' + "é" * (EIGHT_MIB // 2) + '"}')
    assert (await until(line, "error"))[-1]["code"] == "frame_too_large"
    assert await line.receive() == {"type": "close", "code": 1009}


@case("P2.11")
async def audio_before_any_config_is_transcribed_with_the_defaults(line: Line) -> None:
    await line.send(say(*SIX_WORDS))
    frames = await commit(line)
    assert text(frames) == " ".join(SIX_WORDS)
    assert [f["segment_end"] for f in finals(frames)] == [2.0, 2.4]


@case("P2.12")
async def how_the_audio_is_cut_changes_no_final(line: Line) -> None:
    audio = say(*SIX_WORDS * 15, ("", 4.0))
    said = []
    for size in (len(audio), 1_280):
        await configure(line, enable_partial=False)
        for start in range(0, len(audio), size):
            await line.send(audio[start : start + size])
        said.append(await commit(line))
        await line.send({"type": "reset"})
        await until(line, "status")
    assert said[0] == said[1]
    assert text(said[0]) == " ".join(SIX_WORDS * 15)


@case("P2.13")
async def a_message_without_samples_does_nothing(line: Line) -> None:
    await line.send(b"")
    await line.send(in_base64(b""))
    assert await commit(line) == [{"type": "full_transcript", "text": ""}]


@served("P2.12")
async def forty_seconds_in_one_message_are_as_many_finals_as_in_many(door: Door) -> None:
    async with door.open() as line:
        await configure(line, model="foo", enable_partial=False)
        await line.send(sound(40.0))
        frames = finals(await commit(line))
    assert [f["segment_end"] for f in frames] == [2.0 + 1.5 * n for n in range(26)] + [40.0]
    assert place(frames[1]) == (2, 2.0, 3.5, 0.5, 1.5, 3.5, 2.0, 1.5, 3.5)
