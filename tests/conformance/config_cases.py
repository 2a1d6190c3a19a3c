"""docs/protocol.md, section 3."""

from __future__ import annotations

from conformance.client_api import (
    CORE_PATH,
    ClientStream,
    ConformanceServer,
    build_silence,
    build_sound,
    build_speech,
    check_list,
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

DEFAULTS = {
    "type": "status",
    "state": "configured",
    "model": "parakeet",
    "model_variant": "standard",
    "active_model": "parakeet-standard",
    "sample_rate": 16_000,
    "channels": 1,
    "audio_format": "f32le",
    "chunk_duration": 2.0,
    "overlap_duration": 0.5,
    "language": None,
    "enable_partial": True,
    "partial_interval": 0.5,
    "min_partial_duration": 0.5,
    "word_timestamps": False,
    "diarization": False,
    "insights": False,
    "ignored": [],
}


@stream_case("P3.1", "P3.2")
async def an_empty_config_is_answered_with_the_defaults(stream: ClientStream) -> None:
    assert await send_config(stream) == DEFAULTS


@stream_case("P3.1")
async def the_reply_gives_the_values_in_force(stream: ClientStream) -> None:
    given = {
        "model": "parakeet",
        "model_variant": "mlx",
        "sample_rate": 48_000,
        "channels": 2,
        "audio_format": "s16le",
        "chunk_duration": 3.0,
        "overlap_duration": 1.0,
        "language": "en",
        "enable_partial": False,
        "partial_interval": 1.0,
        "min_partial_duration": 0.0,
    }
    assert await send_config(stream, **given) == DEFAULTS | given | {"active_model": "parakeet-mlx"}


BAD: list[tuple[str, object]] = [
    ("model", ""),
    ("model", "x" * 129),
    ("model", 5),
    ("model_variant", "cuda"),
    ("sample_rate", 7_999),
    ("sample_rate", 192_001),
    ("sample_rate", 16_000.5),
    ("sample_rate", "16000"),
    ("chunk_duration", 0.19),
    ("chunk_duration", 60.1),
    ("chunk_duration", -1),
    ("chunk_duration", 0),
    ("chunk_duration", True),
    ("overlap_duration", -0.1),
    ("overlap_duration", 2.0),
    ("overlap_duration", 61),
    ("language", 5),
    ("enable_partial", 1),
    ("partial_interval", 0.09),
    ("partial_interval", 61),
    ("min_partial_duration", -1),
    ("min_partial_duration", 61),
    ("word_timestamps", "yes"),
    ("audio_format", "mp3"),
    ("channels", 0),
    ("channels", 9),
    ("diarization", "yes"),
    ("insights", 1),
    ("vocabulary", ["a"]),
]


@stream_case("P3.3", "P7.6")
async def an_invalid_value_is_named_and_changes_nothing(stream: ClientStream) -> None:
    await send_config(stream, chunk_duration=2.0, overlap_duration=0.0, model="foo")
    for name, value in BAD:
        error = await send_and_receive(stream, {"type": "config", "chunk_duration": 1.0, name: value})
        assert (error["code"], error["field"]) == ("invalid_config", name), (name, value)
        assert "value" in error
    await stream.send(build_silence(1.5) + build_sound(0.5))
    assert read_position(filter_finals(await send_commit(stream))[0]) == (
        1,
        0.0,
        2.0,
        0.0,
        0.0,
        2.0,
        2.0,
        2.0,
        2.0,
    )


@stream_case("P3.4")
async def zero_is_zero(stream: ClientStream) -> None:
    status = await send_config(stream, model="foo", overlap_duration=0, min_partial_duration=0)
    assert (status["overlap_duration"], status["min_partial_duration"]) == (0.0, 0.0)
    await stream.send(build_sound(6.0))
    frames = filter_finals(await send_commit(stream))
    assert [f["segment_end"] for f in frames] == [2.0, 4.0, 6.0]
    assert [f["overlap"] for f in frames] == [0.0, 0.0, 0.0]


@stream_case("P3.5")
async def an_overlap_must_be_less_than_a_chunk(stream: ClientStream) -> None:
    for overlap in (1.0, 1.5):
        error = await send_and_receive(
            stream, {"type": "config", "chunk_duration": 1.0, "overlap_duration": overlap}
        )
        assert (error["code"], error["field"]) == ("invalid_config", "overlap_duration")
    status = await send_config(stream, chunk_duration=0.4)
    assert (status["chunk_duration"], status["overlap_duration"]) == (0.4, 0.1)


@stream_case("P3.6")
async def unknown_keys_are_listed(stream: ClientStream) -> None:
    status = await send_config(stream, shape="round", colour=None, sample_rate=8_000)
    assert status["ignored"] == ["colour", "shape"]
    assert status["sample_rate"] == 8_000


@stream_case("P3.7")
async def absent_and_null_keys_keep_their_value(stream: ClientStream) -> None:
    await send_config(stream, chunk_duration=4.0, language="de")
    status = await send_config(stream, chunk_duration=None, overlap_duration=1.0)
    assert (status["chunk_duration"], status["overlap_duration"], status["language"]) == (4.0, 1.0, "de")


@stream_case("P3.8")
async def an_explicit_variant_overrides_the_suffix_of_the_name(stream: ClientStream) -> None:
    assert (await send_config(stream, model="parakeet-mlx"))["active_model"] == "parakeet-mlx"
    assert (await send_config(stream, model="parakeet-standard"))["active_model"] == "parakeet-standard"
    assert (await send_config(stream, model="Whisper-1"))["active_model"] == "whisper"
    both = await send_config(stream, model="parakeet-onnx", model_variant="mlx")
    assert (both["model_variant"], both["active_model"]) == ("mlx", "parakeet-mlx")
    alias = await send_config(stream, model="parakeet", variant="mlx")
    assert alias["active_model"] == "parakeet-mlx"


@stream_case("P3.9")
async def a_new_model_drops_an_earlier_variant(stream: ClientStream) -> None:
    await send_config(stream, model="parakeet", model_variant="mlx")
    assert (await send_config(stream, language="en"))["model_variant"] == "mlx"
    assert (await send_config(stream, model="parakeet"))["model_variant"] == "standard"


@stream_case("P3.10", "P1.1", "P7.17")
async def an_unavailable_model_is_replaced_with_one_warning(stream: ClientStream) -> None:
    warning = await send_and_receive(stream, {"type": "config", "model": "parakeet", "model_variant": "onnx"})
    assert (warning["type"], warning["code"], warning["fallback"]) == ("warning", "model_fallback", True)
    assert (warning["original_model"], warning["active_model"]) == ("parakeet", "scripted")
    assert warning["message"]
    assert (await stream.receive())["active_model"] == "scripted"
    await send_config(stream, language="en")
    await stream.send(build_speech("one"))
    assert check_transcript(await send_commit(stream)) == "one"


@stream_case("P3.11", "P1.2", "P7.7", path=CORE_PATH)
async def without_fallback_a_missing_model_is_an_error(stream: ClientStream) -> None:
    error = await send_and_receive(stream, {"type": "config", "model": "parakeet-onnx"})
    assert (error["code"], error["model"]) == ("model_unavailable", "parakeet-onnx")
    assert (error["reason"], error["install"]) == ("Its weights are missing.", "get it")
    error = await send_and_receive(stream, {"type": "config", "model": "parakeet-tdt-0.6b-v3-onnx"})
    assert (error["code"], error["reason"]) == ("model_unavailable", "Its weights are missing.")
    await send_config(stream, model="parakeet")
    await stream.send(build_speech("two"))
    assert check_transcript(await send_commit(stream)) == "two"


@stream_case("P3.12")
async def an_unknown_model_is_an_error_on_the_unified_endpoint(stream: ClientStream) -> None:
    await unknown_name(stream)


@stream_case("P3.12", path=CORE_PATH)
async def an_unknown_model_is_an_error_on_the_core_endpoint(stream: ClientStream) -> None:
    await unknown_name(stream)


async def unknown_name(stream: ClientStream) -> None:
    error = await send_and_receive(stream, {"type": "config", "model": "no-such-model"})
    assert (error["code"], error["model"], error["install"]) == ("model_unavailable", "no-such-model", None)


@stream_case("P3.13")
async def the_active_model_stays_when_another_is_unavailable(stream: ClientStream) -> None:
    await send_config(stream, enable_partial=False)
    await stream.send(build_speech("one", "two"))
    await stream.send({"type": "config", "model": "no-such-model", "sample_rate": 8_000})
    assert (await receive_until(stream, "error"))[-1]["code"] == "model_unavailable"
    await stream.send(build_speech("three"))
    assert (await send_commit(stream))[-1]["text"] == "one two three"


@stream_case("P3.14")
async def a_config_finalizes_pending_audio(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(2.6))
    await stream.send({"type": "config", "chunk_duration": 1.0, "overlap_duration": 0.2})
    frames = await receive_until(stream, "status")
    assert [f["type"] for f in frames] == ["final", "final", "status"]
    assert read_position(frames[1]) == (2, 2.0, 2.6, 0.5, 1.5, 2.6, 1.1, 0.6, 2.6)
    await stream.send(build_sound(0.8))
    rest = await send_commit(stream)
    assert read_position(rest[0]) == (3, 2.6, 3.4, 0.2, 2.4, 3.4, 1.0, 0.8, 3.4)
    assert rest[-1]["text"] == "foo foo foo"


@stream_case("P3.15")
async def a_new_sample_rate_keeps_the_clock(stream: ClientStream) -> None:
    await send_config(stream, model="foo", enable_partial=False)
    await stream.send(build_sound(2.5))
    await stream.send({"type": "config", "sample_rate": 48_000})
    await receive_until(stream, "status")
    await stream.send(build_sound(1.5, 48_000))
    (final, _) = await send_commit(stream)
    assert read_position(final) == (3, 2.5, 4.0, 0.5, 2.0, 4.0, 2.0, 1.5, 4.0)


@server_case("P3.16", speakers_diarizer="off", insights_provider="off")
async def unavailable_add_ons_are_warned_about(server: ConformanceServer) -> None:
    asked: list[tuple[str, object, str]] = [
        ("diarization", True, "diarization_unavailable"),
        ("diarize", {"enabled": True, "num_speakers": 2}, "diarization_unavailable"),
        ("insights", {}, "insights_unavailable"),
        ("insights", {"enabled": True}, "insights_unavailable"),
    ]
    async with server.open_stream() as stream:
        for name, value, code in asked:
            await stream.send({"type": "config", name: value})
            warning, status = await receive_until(stream, "status")
            assert (warning["type"], warning["code"]) == ("warning", code)
            assert (status["diarization"], status["insights"]) == (False, False)
            await send_config(stream, **{name: False})
        await send_config(stream, diarization={"enabled": False}, insights={"enabled": False})


@stream_case("P3.19", "P3.21")
async def replacements_are_applied_to_all_texts(stream: ClientStream) -> None:
    meant = {"one two": "Twelve", "three": "two three", "tw": "x"}
    await send_config(stream, model="with-times", word_timestamps=True, vocabulary={"replacements": meant})
    await stream.send(build_speech("one", "two", "three"))
    frames = await send_commit(stream)
    words = [word for final in filter_finals(frames) for word in check_list(final["words"])]
    assert [word["word"] for word in words] == ["Twelve", "two", "three"]
    assert check_transcript(frames) == "Twelve two three"
    await send_config(stream, vocabulary={"replacements": {"two": "2"}})
    await stream.send(build_speech("one", "two", "three"))
    assert check_transcript(await send_commit(stream)) == "one 2 three"
    await send_config(stream, vocabulary={})
    await stream.send(build_speech("one", "two", "three"))
    assert check_transcript(await send_commit(stream)) == "one two three"


@stream_case("P3.23")
async def a_phrase_is_replaced_across_finals(stream: ClientStream) -> None:
    meant = {"two three": "Twenty-three"}
    await send_config(
        stream, model="with-times", chunk_duration=0.8, overlap_duration=0, vocabulary={"replacements": meant}
    )
    await stream.send(build_speech("one", "two"))
    await stream.send(build_speech("three", "four"))
    frames = await send_commit(stream)
    assert filter_finals(frames)[0]["text"] == "one"
    assert check_transcript(frames) == "one Twenty-three four"


@stream_case("P3.20")
async def terms_without_engine_support_are_warned_about(stream: ClientStream) -> None:
    await stream.send({"type": "config", "vocabulary": {"terms": ["C++", {"term": "eunuch", "boost": 2}]}})
    warning, _ = await receive_until(stream, "status")
    assert warning["code"] == "vocabulary_unavailable"


@stream_case("P3.22")
async def an_invalid_vocabulary_entry_is_named(stream: ClientStream) -> None:
    many = {f"word{number}": "x" for number in range(10_001)}
    for bad, field in (
        ({"terms": ["a", "b", 5, None]}, "vocabulary.terms[3]"),
        ({"terms": [f"term{number}" for number in range(1_001)]}, "vocabulary.terms"),
        ({"terms": [{"term": "a", "boost": -1}]}, "vocabulary.terms[0].boost"),
        ({"replacements": {"a": "b", "c": "d" * 201}}, "vocabulary.replacements[1]"),
        ({"replacements": many}, "vocabulary.replacements"),
    ):
        await stream.send({"type": "config", "vocabulary": bad})
        (error,) = await receive_until(stream, "error")
        assert (error["code"], error["field"]) == ("invalid_config", field)


@stream_case("P3.17", "P4.9")
async def words_have_times_if_the_engine_provides_them(stream: ClientStream) -> None:
    status = await send_config(stream, model="with-times", word_timestamps=True)
    assert status["word_timestamps"] is True
    await stream.send(build_speech("one", ("", 1.0), "two"))
    words = [
        word for final in filter_finals(await send_commit(stream)) for word in check_list(final["words"])
    ]
    assert [(w["word"], w["start"], w["confidence"]) for w in words] == [("one", 0.0, 1.0), ("two", 1.4, 1.0)]
    await send_config(stream, word_timestamps=False)
    await stream.send(build_speech("three"))
    assert all("words" not in final for final in filter_finals(await send_commit(stream)))


@stream_case("P3.17")
async def missing_word_times_are_warned_about(stream: ClientStream) -> None:
    await stream.send({"type": "config", "model": "foo", "word_timestamps": True})
    warning, status = await receive_until(stream, "status")
    assert warning["code"] == "word_timestamps_unavailable"
    assert status["word_timestamps"] is False


@stream_case("P3.17", "P4.9")
async def without_word_times_finals_have_rough_bounds(stream: ClientStream) -> None:
    await stream.send({"type": "config", "model": "whisper", "word_timestamps": True})
    await receive_until(stream, "status")
    await stream.send(build_speech("one", ("", 3.0), "two"))
    found = filter_finals(await send_commit(stream))
    assert [final["text"] for final in found] == ["one", "two"]
    for final, start in zip(found, (0.0, 3.4), strict=True):
        since, end, whole = (final[key] for key in ("spoken_start", "spoken_end", "segment_end"))
        assert isinstance(since, float)
        assert isinstance(end, float)
        assert isinstance(whole, float)
        assert abs(since - start) < 0.5
        assert start < end <= whole
    await send_config(stream, word_timestamps=False)
    await stream.send(build_speech("three"))
    assert all("spoken_start" not in final for final in filter_finals(await send_commit(stream)))


@stream_case("P3.18")
async def a_config_has_a_maximum_length_and_depth(stream: ClientStream) -> None:
    error = await send_and_receive(stream, {"type": "config", "x": "y" * 2**20})
    assert (error["code"], error["limit"]) == ("invalid_config", 1_048_576)
    assert (await send_and_receive(stream, '{"type":"config","x":' + "[" * 17 + "]" * 17 + "}"))[
        "code"
    ] == "bad_json"
    await send_config(stream, x=[[[]]])
