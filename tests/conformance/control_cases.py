"""docs/protocol.md, sections 6 and 7 within a stream."""

from __future__ import annotations

from conformance.client_api import (
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
async def a_commit_finalizes_and_returns_the_transcript(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech("one", "two", "three", "four", "five", "six"))
    frames = await send_commit(stream)
    assert [f["type"] for f in frames] == ["final", "final", "full_transcript"]
    assert check_transcript(frames) == "one two three four five six"


@stream_case("P6.1")
async def a_commit_without_audio_returns_an_empty_transcript(stream: ClientStream) -> None:
    assert await send_commit(stream) == [{"type": "full_transcript", "text": ""}]


@stream_case("P6.2")
async def after_a_commit_the_transcript_restarts_not_the_clock(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(1.0))
    await send_commit(stream)
    await stream.send(build_sound(0.5))
    final, transcript = await send_commit(stream)
    assert read_position(final) == (2, 1.0, 1.5, 0.5, 0.5, 1.5, 1.0, 0.5, 1.5)
    assert transcript["text"] == "foo"


@stream_case("P6.3")
async def reset_keeps_only_the_config(stream: ClientStream) -> None:
    await send_config(stream, model="foo", chunk_duration=1.0, overlap_duration=0.0, enable_partial=False)
    await stream.send(build_sound(3.3))
    await stream.send({"type": "reset"})
    assert (await receive_until(stream, "status"))[-1] == {"type": "status", "state": "reset"}
    assert await send_commit(stream) == [{"type": "full_transcript", "text": ""}]
    await stream.send(build_sound(1.0))
    assert read_position(filter_finals(await send_commit(stream))[0]) == (
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
async def stop_delivers_what_is_pending_and_closes(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech("one", "two"))
    await stream.send({"type": "stop"})
    frames = await receive_until(stream, "full_transcript")
    assert [f["type"] for f in frames] == ["final", "full_transcript"]
    assert check_transcript(frames) == "one two"
    assert await stream.receive() == {"type": "close", "code": 1000}


@stream_case("P6.4")
async def stop_without_words_only_closes(stream: ClientStream) -> None:
    await stream.send({"type": "stop"})
    assert await stream.receive() == {"type": "close", "code": 1000}


@stream_case("P6.5")
async def ping_is_answered_by_pong(stream: ClientStream) -> None:
    await check_alive(stream)
    await send_config(stream)
    await check_alive(stream)


@stream_case("P6.6")
async def auth_is_acknowledged_without_keys(stream: ClientStream) -> None:
    assert await send_and_receive(stream, {"type": "auth", "token": "x"}) == {
        "type": "status",
        "state": "authenticated",
    }
    await check_alive(stream)


@stream_case("P7.1", "P7.2")
async def a_message_that_is_no_json_object_is_bad_json(stream: ClientStream) -> None:
    for message in ("", "{", "[]", "5", '"ping"', "null", "\x00", '{"type":"ping"', "[" * 100_000):
        error = await send_and_receive(stream, message)
        assert (error["type"], error["code"], error["error_type"]) == ("error", "bad_json", "bad_json"), (
            message[:9]
        )
        assert error["message"]
    await check_alive(stream)


@stream_case("P7.3")
async def an_unknown_type_is_named(stream: ClientStream) -> None:
    for name in ("sing", "PING", "final", "", "config "):
        error = await send_and_receive(stream, {"type": name})
        assert (error["code"], error["received"]) == ("unknown_type", name)
    await check_alive(stream)


@stream_case("P7.4")
async def a_missing_field_is_named(stream: ClientStream) -> None:
    for message, field in (
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "audio"}, "data"),
        ({"type": "auth"}, "token"),
        ({"type": "auth", "token": 5}, "token"),
    ):
        error = await send_and_receive(stream, message)  # type: ignore[arg-type]  # objects of all kinds
        assert (error["code"], error["field"]) == ("missing_field", field), message
    await check_alive(stream)


@stream_case("P7.5")
async def bad_audio_is_an_error_and_the_session_continues(stream: ClientStream) -> None:
    error = await send_and_receive(stream, b"odd")
    assert (error["code"], error["error_type"], error["length"], error["multiple_of"]) == (
        "bad_audio",
        "bad_audio",
        3,
        4,
    )
    await check_alive(stream)


@stream_case("P7.8")
async def a_window_that_fails_twice_is_an_error_with_its_times(stream: ClientStream) -> None:
    await send_config(stream, model="brittle", enable_partial=False)
    await stream.send(build_speech("one", ("", 2.2), "bravo", ("", 2.0), "two"))
    frames = await send_commit(stream)
    errors = [f for f in frames if f["type"] == "error"]
    assert {(f["code"], f["error_type"], f["model"]) for f in errors} == {
        ("decode_failed", "decode_failed", "brittle")
    }
    assert number(errors[0]["start"]) <= 2.6 <= number(errors[-1]["end"])
    assert "confidence" not in str(frames)
    assert frames[-1]["text"] == "one two"
    await check_alive(stream)


@stream_case("P7.8")
async def a_failed_decode_is_retried(stream: ClientStream) -> None:
    await send_config(stream, model="shaky", enable_partial=False)
    await stream.send(build_sound(2.0))
    assert check_transcript(await send_commit(stream)) == "second"


@stream_case("P6.7")
async def after_the_close_nothing_is_sent(stream: ClientStream) -> None:
    await send_config(stream)
    await stream.send({"type": "stop"})
    await stream.send({"type": "ping"})
    await stream.send(build_sound(2.0))
    assert await stream.receive() == {"type": "close", "code": 1000}
    assert await stream.receive() == {"type": "close", "code": 1000}


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
