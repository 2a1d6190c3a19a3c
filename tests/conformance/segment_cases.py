"""docs/protocol.md, sections 4 and 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.line import (
    ClientStream,
    build_silence,
    build_sound,
    build_speech,
    check_transcript,
    filter_finals,
    read_position,
    receive_until,
    send_commit,
    send_config,
    stream_case,
)

if TYPE_CHECKING:
    from conformance.line import Json

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@stream_case("P4.1", "P4.2")
async def finals_are_due_at_two_then_every_one_and_a_half_seconds(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_sound(6.5))
    frames = filter_finals(await send_commit(line))
    assert [read_position(f) for f in frames] == [
        (1, 0.0, 2.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0),
        (2, 2.0, 3.5, 0.5, 1.5, 3.5, 2.0, 1.5, 3.5),
        (3, 3.5, 5.0, 0.5, 3.0, 5.0, 2.0, 1.5, 5.0),
        (4, 5.0, 6.5, 0.5, 4.5, 6.5, 2.0, 1.5, 6.5),
    ]
    assert all(f["is_final"] is True for f in frames)


@stream_case("P4.2")
async def an_overlap_is_no_longer_than_what_was_heard_before(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False, chunk_duration=3.0, overlap_duration=2.0)
    await line.send(build_sound(0.5))
    await send_commit(line)
    await line.send(build_sound(0.5))
    assert read_position(filter_finals(await send_commit(line))[0]) == (
        2,
        0.5,
        1.0,
        0.5,
        0.0,
        1.0,
        1.0,
        0.5,
        1.0,
    )


@stream_case("P4.3")
async def a_partial_says_where_it_is(line: ClientStream) -> None:
    await send_config(line, model="foo")
    for end in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        await line.send(build_sound(0.5))
        partial = (await receive_until(line, "final" if end == 2.0 else "partial"))[-1]
        if end == 2.0:
            continue
        first = end < 2.0
        assert partial == {
            "type": "partial",
            "text": "foo",
            "is_final": False,
            "segment_id": 1 if first else 2,
            "segment_start": 0.0 if first else 2.0,
            "segment_end": end,
            "buffer_duration": end if first else round(end - 1.5, 6),
            "cumulative_audio": 0.0 if first else 2.0,
        }


async def in_tenths(line: ClientStream, seconds: float, **config: object) -> list[Json]:
    """Send sound in messages of a tenth of a second, each when the one before was taken; commit."""
    await send_config(line, **config)
    seen: list[Json] = []
    for _ in range(round(10 * seconds)):
        await line.send(build_sound(0.1))
        await line.send({"type": "ping"})
        seen += (await receive_until(line, "pong"))[:-1]
    return seen + await send_commit(line)


@stream_case("P4.4", transports=("session",))
async def partials_keep_a_cadence_of_audio(line: ClientStream) -> None:
    frames = await in_tenths(line, 3.6, model="foo")
    assert [f["segment_end"] for f in frames if f["type"] == "partial"] == [0.5, 1.0, 1.5, 2.5, 3.0]
    await line.send({"type": "reset"})
    await receive_until(line, "status")
    frames = await in_tenths(line, 1.8, min_partial_duration=1.0, partial_interval=0.2)
    assert [f["segment_end"] for f in frames if f["type"] == "partial"] == [1.0, 1.2, 1.4, 1.6, 1.8]


@stream_case("P4.4")
async def partials_can_be_switched_off(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    for _ in range(20):
        await line.send(build_sound(0.3))
    assert {f["type"] for f in await send_commit(line)} == {"final", "full_transcript"}


@stream_case("P4.5", "P4.6")
async def windows_without_words_move_the_clock_and_no_id(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_silence(39.5))
    await line.send(build_sound(1.5))
    final, transcript = await send_commit(line)
    assert read_position(final) == (1, 39.5, 41.0, 0.5, 39.0, 41.0, 2.0, 1.5, 41.0)
    assert transcript["text"] == "foo"


@stream_case("P4.7")
async def messages_of_half_a_second_and_more_bring_every_final(line: ClientStream) -> None:
    for seconds in (0.5, 0.75, 2.0, 3.5):
        await send_config(line, model="foo")
        for _ in range(round(10.5 / seconds)):
            await line.send(build_sound(seconds))
        frames = filter_finals(await send_commit(line))
        whole = [f["segment_end"] for f in frames if f["new_audio_duration"] in (2.0, 1.5)]
        assert whole[:5] == [2.0, 3.5, 5.0, 6.5, 8.0]
        await line.send({"type": "reset"})
        await receive_until(line, "status")


@stream_case("P4.8")
async def a_commit_without_new_audio_brings_no_further_final(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_sound(2.0))
    assert [f["type"] for f in await send_commit(line)] == ["final", "full_transcript"]
    assert await send_commit(line) == [{"type": "full_transcript", "text": ""}]


@stream_case("P4.10")
async def the_worked_case_of_one_second_chunks(line: ClientStream) -> None:
    await send_config(
        line,
        model="foo",
        sample_rate=8_000,
        chunk_duration=1.0,
        overlap_duration=0.2,
        enable_partial=False,
    )
    await line.send(build_sound(1.5, 8_000))
    assert read_position(await line.receive()) == (1, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    await line.send(build_sound(1.0, 8_000))
    assert read_position(await line.receive()) == (2, 1.0, 1.8, 0.2, 0.8, 1.8, 1.0, 0.8, 1.8)


@stream_case("P4.11", "P4.3")
async def the_worked_case_of_one_and_a_half_seconds(line: ClientStream) -> None:
    await send_config(line, model="foo")
    await line.send(build_sound(1.5))
    assert await line.receive() == {
        "type": "partial",
        "text": "foo",
        "is_final": False,
        "segment_id": 1,
        "segment_start": 0.0,
        "segment_end": 1.5,
        "buffer_duration": 1.5,
        "cumulative_audio": 0.0,
    }
    final, transcript = await send_commit(line)
    assert read_position(final) == (1, 0.0, 1.5, 0.0, 0.0, 1.5, 1.5, 1.5, 1.5)
    assert transcript == {"type": "full_transcript", "text": "foo"}


@stream_case("P5.1")
async def a_carried_state_doubles_and_loses_no_word_at_any_window(line: ClientStream) -> None:
    for chunk, overlap in ((2.0, 0.5), (0.5, 0.2), (0.3, 0.0), (1.0, 0.9)):
        await send_config(line, chunk_duration=chunk, overlap_duration=overlap)
        await line.send(build_speech(*NUMBERS))
        assert check_transcript(await send_commit(line)) == " ".join(NUMBERS)


@stream_case("P5.2")
async def a_word_that_the_window_cuts_comes_whole_with_the_next_final(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    await line.send(build_speech(("one", 0.4), ("", 1.3), ("two", 0.6)))
    await line.send(build_silence(1.1))
    first, second = await line.receive(), await line.receive()
    assert (first["text"], second["text"]) == ("one", "two")
    assert second["segment_start"] == 2.0
    await send_commit(line)


@stream_case("P5.2")
async def a_commit_delivers_what_was_held_back(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    await line.send(build_speech(("one", 0.4), ("", 1.3), ("two", 0.6))[: 4 * 32_000])
    assert check_transcript(await send_commit(line)) == "one two"


@stream_case("P5.3")
async def a_model_with_times_says_each_word_once(line: ClientStream) -> None:
    for chunk, overlap in ((2.0, 0.5), (0.5, 0.2), (1.0, 0.9)):
        await send_config(line, model="timed", chunk_duration=chunk, overlap_duration=overlap)
        await line.send(build_speech(*NUMBERS))
        assert check_transcript(await send_commit(line)) == " ".join(NUMBERS)


@stream_case("P5.4")
async def a_model_that_cut_words_mislead_hears_whole_utterances(line: ClientStream) -> None:
    await send_config(line, model="whisper", enable_partial=False)
    await line.send(build_speech(*NUMBERS, ("", 1.6), *NUMBERS))
    frames = await send_commit(line)
    assert check_transcript(frames) == " ".join(NUMBERS * 2)
    assert len(filter_finals(frames)) > 2


@stream_case("P5.5")
async def words_at_the_head_that_repeat_the_overlap_are_left_out(line: ClientStream) -> None:
    await send_config(line, model="recital", enable_partial=False)
    await line.send(build_sound(5.0))
    frames = await send_commit(line)
    assert [f["text"] for f in filter_finals(frames)] == ["One, two three", "four", "four"]


@stream_case("P5.6")
async def foo_is_said_once_a_window(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_sound(8.0))
    assert check_transcript(await send_commit(line)) == "foo foo foo foo foo"


@stream_case("P5.7")
async def silent_windows_are_not_decoded_and_times_stay(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_sound(1.9) + build_silence(4.7) + build_sound(1.4))
    frames = filter_finals(await send_commit(line))
    assert [(f["text"], f["segment_start"], f["segment_end"]) for f in frames] == [
        ("foo", 0.0, 2.0),
        ("foo", 6.5, 8.0),
    ]


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
