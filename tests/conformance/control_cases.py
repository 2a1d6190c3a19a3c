"""docs/protocol.md, sections 6 and 7 within a stream."""

from __future__ import annotations

from conformance.line import Line, ask, case, commit, configure, finals, lives, place, say, sound, text, until


@case("P6.1", "P1.7")
async def a_commit_finalises_and_returns_the_transcript(line: Line) -> None:
    await configure(line, enable_partial=False)
    await line.send(say("one", "two", "three", "four", "five", "six"))
    frames = await commit(line)
    assert [f["type"] for f in frames] == ["final", "final", "full_transcript"]
    assert text(frames) == "one two three four five six"


@case("P6.1")
async def a_commit_of_nothing_is_an_empty_transcript(line: Line) -> None:
    assert await commit(line) == [{"type": "full_transcript", "text": ""}]


@case("P6.2")
async def after_a_commit_the_transcript_is_new_and_the_clock_goes_on(line: Line) -> None:
    await configure(line, model="foo", enable_partial=False)
    await line.send(sound(1.0))
    await commit(line)
    await line.send(sound(0.5))
    final, transcript = await commit(line)
    assert place(final) == (2, 1.0, 1.5, 0.5, 0.5, 1.5, 1.0, 0.5, 1.5)
    assert transcript["text"] == "foo"


@case("P6.3")
async def reset_forgets_everything_but_the_config(line: Line) -> None:
    await configure(line, model="foo", chunk_duration=1.0, overlap_duration=0.0, enable_partial=False)
    await line.send(sound(3.3))
    await line.send({"type": "reset"})
    assert (await until(line, "status"))[-1] == {"type": "status", "state": "reset"}
    assert await commit(line) == [{"type": "full_transcript", "text": ""}]
    await line.send(sound(1.0))
    assert place(finals(await commit(line))[0]) == (1, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)


@case("P6.4")
async def stop_delivers_what_is_pending_and_closes(line: Line) -> None:
    await configure(line, enable_partial=False)
    await line.send(say("one", "two"))
    await line.send({"type": "stop"})
    frames = await until(line, "full_transcript")
    assert [f["type"] for f in frames] == ["final", "full_transcript"]
    assert text(frames) == "one two"
    assert await line.receive() == {"type": "close", "code": 1000}


@case("P6.4")
async def stop_without_words_only_closes(line: Line) -> None:
    await line.send({"type": "stop"})
    assert await line.receive() == {"type": "close", "code": 1000}


@case("P6.5")
async def ping_is_answered_by_pong(line: Line) -> None:
    await lives(line)
    await configure(line)
    await lives(line)


@case("P6.6")
async def auth_is_acknowledged_where_nobody_asks_for_it(line: Line) -> None:
    assert await ask(line, {"type": "auth", "token": "x"}) == {"type": "status", "state": "authenticated"}
    await lives(line)


@case("P7.1", "P7.2")
async def what_is_no_json_object_is_bad_json(line: Line) -> None:
    for message in ("", "{", "[]", "5", '"ping"', "null", "\x00", '{"type":"ping"', "[" * 100_000):
        error = await ask(line, message)
        assert (error["type"], error["code"], error["error_type"]) == ("error", "bad_json", "bad_json"), (
            message[:9]
        )
        assert error["message"]
    await lives(line)


@case("P7.3")
async def an_unknown_type_is_told(line: Line) -> None:
    for name in ("sing", "PING", "final", "", "config "):
        error = await ask(line, {"type": name})
        assert (error["code"], error["received"]) == ("unknown_type", name)
    await lives(line)


@case("P7.4")
async def a_missing_field_is_named(line: Line) -> None:
    for message, field in (
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "audio"}, "data"),
        ({"type": "auth"}, "token"),
        ({"type": "auth", "token": 5}, "token"),
    ):
        error = await ask(line, message)  # type: ignore[arg-type]  # objects of all kinds
        assert (error["code"], error["field"]) == ("missing_field", field), message
    await lives(line)


@case("P7.5")
async def bad_audio_is_an_error_and_the_session_goes_on(line: Line) -> None:
    error = await ask(line, b"odd")
    assert (error["code"], error["error_type"], error["length"], error["multiple_of"]) == (
        "bad_audio",
        "bad_audio",
        3,
        4,
    )
    await lives(line)


@case("P7.8")
async def a_window_that_fails_twice_is_a_gap_with_its_times(line: Line) -> None:
    await configure(line, model="brittle", enable_partial=False)
    await line.send(say("one", ("", 2.2), "bravo", ("", 2.0), "two"))
    frames = await commit(line)
    errors = [f for f in frames if f["type"] == "error"]
    assert {(f["code"], f["error_type"], f["model"]) for f in errors} == {
        ("decode_failed", "decode_failed", "brittle")
    }
    assert number(errors[0]["start"]) <= 2.6 <= number(errors[-1]["end"])
    assert "confidence" not in str(frames)
    assert frames[-1]["text"] == "one two"
    await lives(line)


@case("P7.8")
async def a_window_that_fails_once_is_tried_again(line: Line) -> None:
    await configure(line, model="shaky", enable_partial=False)
    await line.send(sound(2.0))
    assert text(await commit(line)) == "second"


@case("P6.7")
async def after_the_close_nothing_is_sent(line: Line) -> None:
    await configure(line)
    await line.send({"type": "stop"})
    await line.send({"type": "ping"})
    await line.send(sound(2.0))
    assert await line.receive() == {"type": "close", "code": 1000}
    assert await line.receive() == {"type": "close", "code": 1000}


def number(value: object) -> float:
    assert isinstance(value, float)
    return value
