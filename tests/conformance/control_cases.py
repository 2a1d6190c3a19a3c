"""docs/protocol.md, sections 6 and 7 within a stream."""

from __future__ import annotations

from conformance.line import (
    ClientStream,
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
    stream_case,
)


@stream_case("P6.1", "P1.7")
async def a_commit_finalises_and_returns_the_transcript(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    await line.send(build_speech("one", "two", "three", "four", "five", "six"))
    frames = await send_commit(line)
    assert [f["type"] for f in frames] == ["final", "final", "full_transcript"]
    assert check_transcript(frames) == "one two three four five six"


@stream_case("P6.1")
async def a_commit_of_nothing_is_an_empty_transcript(line: ClientStream) -> None:
    assert await send_commit(line) == [{"type": "full_transcript", "text": ""}]


@stream_case("P6.2")
async def after_a_commit_the_transcript_is_new_and_the_clock_goes_on(line: ClientStream) -> None:
    await send_config(line, model="foo", enable_partial=False)
    await line.send(build_sound(1.0))
    await send_commit(line)
    await line.send(build_sound(0.5))
    final, transcript = await send_commit(line)
    assert read_position(final) == (2, 1.0, 1.5, 0.5, 0.5, 1.5, 1.0, 0.5, 1.5)
    assert transcript["text"] == "foo"


@stream_case("P6.3")
async def reset_forgets_everything_but_the_config(line: ClientStream) -> None:
    await send_config(line, model="foo", chunk_duration=1.0, overlap_duration=0.0, enable_partial=False)
    await line.send(build_sound(3.3))
    await line.send({"type": "reset"})
    assert (await receive_until(line, "status"))[-1] == {"type": "status", "state": "reset"}
    assert await send_commit(line) == [{"type": "full_transcript", "text": ""}]
    await line.send(build_sound(1.0))
    assert read_position(filter_finals(await send_commit(line))[0]) == (
        1,
        0.0,
        1.0,
        0.0,
        0.0,
        1.0,
        1.0,
        1.0,
        1.0,
    )


@stream_case("P6.4")
async def stop_delivers_what_is_pending_and_closes(line: ClientStream) -> None:
    await send_config(line, enable_partial=False)
    await line.send(build_speech("one", "two"))
    await line.send({"type": "stop"})
    frames = await receive_until(line, "full_transcript")
    assert [f["type"] for f in frames] == ["final", "full_transcript"]
    assert check_transcript(frames) == "one two"
    assert await line.receive() == {"type": "close", "code": 1000}


@stream_case("P6.4")
async def stop_without_words_only_closes(line: ClientStream) -> None:
    await line.send({"type": "stop"})
    assert await line.receive() == {"type": "close", "code": 1000}


@stream_case("P6.5")
async def ping_is_answered_by_pong(line: ClientStream) -> None:
    await check_alive(line)
    await send_config(line)
    await check_alive(line)


@stream_case("P6.6")
async def auth_is_acknowledged_where_nobody_asks_for_it(line: ClientStream) -> None:
    assert await send_and_receive(line, {"type": "auth", "token": "x"}) == {
        "type": "status",
        "state": "authenticated",
    }
    await check_alive(line)


@stream_case("P7.1", "P7.2")
async def what_is_no_json_object_is_bad_json(line: ClientStream) -> None:
    for message in ("", "{", "[]", "5", '"ping"', "null", "\x00", '{"type":"ping"', "[" * 100_000):
        error = await send_and_receive(line, message)
        assert (error["type"], error["code"], error["error_type"]) == ("error", "bad_json", "bad_json"), (
            message[:9]
        )
        assert error["message"]
    await check_alive(line)


@stream_case("P7.3")
async def an_unknown_type_is_told(line: ClientStream) -> None:
    for name in ("sing", "PING", "final", "", "config "):
        error = await send_and_receive(line, {"type": name})
        assert (error["code"], error["received"]) == ("unknown_type", name)
    await check_alive(line)


@stream_case("P7.4")
async def a_missing_field_is_named(line: ClientStream) -> None:
    for message, field in (
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "audio"}, "data"),
        ({"type": "auth"}, "token"),
        ({"type": "auth", "token": 5}, "token"),
    ):
        error = await send_and_receive(line, message)  # type: ignore[arg-type]  # objects of all kinds
        assert (error["code"], error["field"]) == ("missing_field", field), message
    await check_alive(line)


@stream_case("P7.5")
async def bad_audio_is_an_error_and_the_session_goes_on(line: ClientStream) -> None:
    error = await send_and_receive(line, b"odd")
    assert (error["code"], error["error_type"], error["length"], error["multiple_of"]) == (
        "bad_audio",
        "bad_audio",
        3,
        4,
    )
    await check_alive(line)


@stream_case("P7.8")
async def a_window_that_fails_twice_is_a_gap_with_its_times(line: ClientStream) -> None:
    await send_config(line, model="brittle", enable_partial=False)
    await line.send(build_speech("one", ("", 2.2), "bravo", ("", 2.0), "two"))
    frames = await send_commit(line)
    errors = [f for f in frames if f["type"] == "error"]
    assert {(f["code"], f["error_type"], f["model"]) for f in errors} == {
        ("decode_failed", "decode_failed", "brittle")
    }
    assert number(errors[0]["start"]) <= 2.6 <= number(errors[-1]["end"])
    assert "confidence" not in str(frames)
    assert frames[-1]["text"] == "one two"
    await check_alive(line)


@stream_case("P7.8")
async def a_window_that_fails_once_is_tried_again(line: ClientStream) -> None:
    await send_config(line, model="shaky", enable_partial=False)
    await line.send(build_sound(2.0))
    assert check_transcript(await send_commit(line)) == "second"


@stream_case("P6.7")
async def after_the_close_nothing_is_sent(line: ClientStream) -> None:
    await send_config(line)
    await line.send({"type": "stop"})
    await line.send({"type": "ping"})
    await line.send(build_sound(2.0))
    assert await line.receive() == {"type": "close", "code": 1000}
    assert await line.receive() == {"type": "close", "code": 1000}


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
