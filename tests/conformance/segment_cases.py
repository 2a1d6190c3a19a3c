"""docs/protocol.md, sections 4 and 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.client_api import (
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
    from conformance.client_api import Json

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@stream_case("P4.1", "P4.2")
async def finals_are_due_at_two_then_every_one_and_a_half_seconds(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(6.5))
    frames = filter_finals(await send_commit(stream))
    assert [read_position(f) for f in frames] == [
        (1, 0.0, 2.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0),
        (2, 2.0, 3.5, 0.5, 1.5, 3.5, 2.0, 1.5, 3.5),
        (3, 3.5, 5.0, 0.5, 3.0, 5.0, 2.0, 1.5, 5.0),
        (4, 5.0, 6.5, 0.5, 4.5, 6.5, 2.0, 1.5, 6.5),
    ]
    assert all(f["is_final"] is True for f in frames)


@stream_case("P4.2")
async def an_overlap_never_reaches_before_the_start(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False, chunk_duration=3.0, overlap_duration=2.0)
    await stream.send(build_sound(0.5))
    await send_commit(stream)
    await stream.send(build_sound(0.5))
    assert read_position(filter_finals(await send_commit(stream))[0]) == (
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
async def a_partial_has_its_position(stream: ClientStream) -> None:
    await send_config(stream, model="foo")
    for end in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        await stream.send(build_sound(0.5))
        partial = (await receive_until(stream, "final" if end == 2.0 else "partial"))[-1]
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


async def in_tenths(stream: ClientStream, seconds: float, **config: object) -> list[Json]:
    """Send sound in messages of 0.1 s, each after the one before was processed; commit."""
    await send_config(stream, **config)
    seen: list[Json] = []
    for _ in range(round(10 * seconds)):
        await stream.send(build_sound(0.1))
        await stream.send({"type": "ping"})
        seen += (await receive_until(stream, "pong"))[:-1]
    return seen + await send_commit(stream)


@stream_case("P4.4", transports=("session",))
async def partials_keep_a_cadence_of_audio(stream: ClientStream) -> None:
    frames = await in_tenths(stream, 3.6, model="foo")
    assert [f["segment_end"] for f in frames if f["type"] == "partial"] == [0.5, 1.0, 1.5, 2.5, 3.0]
    await stream.send({"type": "reset"})
    await receive_until(stream, "status")
    frames = await in_tenths(stream, 1.8, min_partial_duration=1.0, partial_interval=0.2)
    assert [f["segment_end"] for f in frames if f["type"] == "partial"] == [1.0, 1.2, 1.4, 1.6, 1.8]


@stream_case("P4.4")
async def partials_can_be_switched_off(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    for _ in range(20):
        await stream.send(build_sound(0.3))
    assert {f["type"] for f in await send_commit(stream)} == {"final", "full_transcript"}


@stream_case("P4.5", "P4.6")
async def windows_without_words_advance_only_the_clock(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_silence(39.5))
    await stream.send(build_sound(1.5))
    final, transcript = await send_commit(stream)
    assert read_position(final) == (1, 39.5, 41.0, 0.5, 39.0, 41.0, 2.0, 1.5, 41.0)
    assert transcript["text"] == "foo"


@stream_case("P4.7")
async def long_messages_delay_no_final(stream: ClientStream) -> None:
    for seconds in (0.5, 0.75, 2.0, 3.5):
        await send_config(stream, model="foo")
        for _ in range(round(10.5 / seconds)):
            await stream.send(build_sound(seconds))
        frames = filter_finals(await send_commit(stream))
        whole = [f["segment_end"] for f in frames if f["new_audio_duration"] in (2.0, 1.5)]
        assert whole[:5] == [2.0, 3.5, 5.0, 6.5, 8.0]
        await stream.send({"type": "reset"})
        await receive_until(stream, "status")


@stream_case("P4.8")
async def a_commit_without_new_audio_sends_no_final(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(2.0))
    assert [f["type"] for f in await send_commit(stream)] == ["final", "full_transcript"]
    assert await send_commit(stream) == [{"type": "full_transcript", "text": ""}]


@stream_case("P4.10")
async def the_worked_case_of_one_second_chunks(stream: ClientStream) -> None:
    await send_config(
        stream,
        model="foo",
        sample_rate=8_000,
        chunk_duration=1.0,
        overlap_duration=0.2,
        enable_partial=False,
    )
    await stream.send(build_sound(1.5, 8_000))
    assert read_position(await stream.receive()) == (1, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    await stream.send(build_sound(1.0, 8_000))
    assert read_position(await stream.receive()) == (2, 1.0, 1.8, 0.2, 0.8, 1.8, 1.0, 0.8, 1.8)


@stream_case("P4.11", "P4.3")
async def the_worked_case_of_one_and_a_half_seconds(stream: ClientStream) -> None:
    await send_config(stream, model="foo")
    await stream.send(build_sound(1.5))
    assert await stream.receive() == {
        "type": "partial",
        "text": "foo",
        "is_final": False,
        "segment_id": 1,
        "segment_start": 0.0,
        "segment_end": 1.5,
        "buffer_duration": 1.5,
        "cumulative_audio": 0.0,
    }
    final, transcript = await send_commit(stream)
    assert read_position(final) == (1, 0.0, 1.5, 0.0, 0.0, 1.5, 1.5, 1.5, 1.5)
    assert transcript == {"type": "full_transcript", "text": "foo"}


@stream_case("P5.1")
async def a_stateful_engine_neither_repeats_nor_loses_words(stream: ClientStream) -> None:
    for chunk, overlap in ((2.0, 0.5), (0.5, 0.2), (0.3, 0.0), (1.0, 0.9)):
        await send_config(stream, chunk_duration=chunk, overlap_duration=overlap)
        await stream.send(build_speech(*NUMBERS))
        assert check_transcript(await send_commit(stream)) == " ".join(NUMBERS)


@stream_case("P5.2")
async def a_cut_off_word_is_emitted_whole_with_the_next_final(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech(("one", 0.4), ("", 1.3), ("two", 0.6)))
    await stream.send(build_silence(1.1))
    first, second = await stream.receive(), await stream.receive()
    assert (first["text"], second["text"]) == ("one", "two")
    assert second["segment_start"] == 2.0
    await send_commit(stream)


@stream_case("P5.2")
async def a_commit_emits_held_words(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech(("one", 0.4), ("", 1.3), ("two", 0.6))[: 4 * 32_000])
    assert check_transcript(await send_commit(stream)) == "one two"


@stream_case("P5.3")
async def an_engine_with_word_times_repeats_no_word(stream: ClientStream) -> None:
    for chunk, overlap in ((2.0, 0.5), (0.5, 0.2), (1.0, 0.9)):
        await send_config(stream, model="timed", chunk_duration=chunk, overlap_duration=overlap)
        await stream.send(build_speech(*NUMBERS))
        assert check_transcript(await send_commit(stream)) == " ".join(NUMBERS)


@stream_case("P5.4")
async def local_agreement_decodes_utterances_from_their_start(stream: ClientStream) -> None:
    await send_config(stream, model="whisper", enable_partial=False)
    await stream.send(build_speech(*NUMBERS, ("", 1.6), *NUMBERS))
    frames = await send_commit(stream)
    assert check_transcript(frames) == " ".join(NUMBERS * 2)
    assert len(filter_finals(frames)) > 2


@stream_case("P5.5")
async def words_repeated_in_the_overlap_are_removed(stream: ClientStream) -> None:
    await send_config(stream, model="recital", enable_partial=False)
    await stream.send(build_sound(5.0))
    frames = await send_commit(stream)
    assert [f["text"] for f in filter_finals(frames)] == ["One, two three", "four", "four"]


@stream_case("P5.6")
async def a_window_that_only_repeats_is_kept(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(8.0))
    assert check_transcript(await send_commit(stream)) == "foo foo foo foo foo"


@stream_case("P5.7")
async def silent_windows_are_not_decoded(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(1.9) + build_silence(4.7) + build_sound(1.4))
    frames = filter_finals(await send_commit(stream))
    assert [(f["text"], f["segment_start"], f["segment_end"]) for f in frames] == [
        ("foo", 0.0, 2.0),
        ("foo", 6.5, 8.0),
    ]


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
