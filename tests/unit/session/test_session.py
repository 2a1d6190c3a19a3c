"""The session, frame by frame: protocol.md, sections 2 to 7."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from echoic.engines.scripted import STATEFUL, ScriptedEngine, draw_words
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import Audio, Commit, Config, Reset, Warning  # noqa: A004  # the protocol's word
from echoic.session.config import StreamConfig
from echoic.session.effects import Send
from echoic.session.session import Session
from support.play import SessionDriver, build_audio_frame, build_silence, filter_frames, frame_texts
from support.speakers import FunctionEngine, build_fixed_engine

TEN = StreamConfig(sample_rate=10, chunk_duration=1.0, overlap_duration=0.2, enable_partial=False)


def _place(frame: dict[str, object]) -> tuple[object, ...]:
    keys = ("segment_id", "segment_start", "segment_end", "overlap", "chunk_start", "chunk_end")
    return tuple(frame[key] for key in (*keys, "chunk_duration", "new_audio_duration", "cumulative_audio"))


def test_the_worked_case_at_ten_samples_a_second() -> None:
    play = SessionDriver(build_fixed_engine("foo"), Session(defaults=TEN))
    (first,) = play.push_audio(np.ones(15, np.float32))
    assert _place(first) == (1, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    (second,) = play.push_audio(np.ones(10, np.float32))
    assert _place(second) == (2, 1.0, 1.8, 0.2, 0.8, 1.8, 1.0, 0.8, 1.8)
    assert frame_texts([first, second]) == ["foo", "foo"]


def test_one_and_a_half_seconds_are_a_partial_and_then_a_final() -> None:
    play = SessionDriver(build_fixed_engine("hello"))
    (partial,) = play.push_audio(build_silence(1.5))
    assert partial == {
        "type": "partial",
        "text": "hello",
        "is_final": False,
        "segment_id": 1,
        "segment_start": 0.0,
        "segment_end": 1.5,
        "buffer_duration": 1.5,
        "cumulative_audio": 0.0,
    }
    final, transcript = play.send({"type": "commit"})
    assert _place(final) == (1, 0.0, 1.5, 0.0, 0.0, 1.5, 1.5, 1.5, 1.5)
    assert transcript == {"type": "full_transcript", "text": "hello"}


def test_finals_are_due_at_two_then_every_one_and_a_half_seconds() -> None:
    play = SessionDriver(build_fixed_engine("word"))
    finals = filter_frames(play.push_audio(build_silence(8.0)), "final")
    assert [f["segment_end"] for f in finals] == [2.0, 3.5, 5.0, 6.5, 8.0]
    assert [f["segment_id"] for f in finals] == [1, 2, 3, 4, 5]


def test_a_window_without_words_sends_nothing_and_the_clock_moves_on() -> None:
    play = SessionDriver(FunctionEngine(lambda w: "late" if np.any(w.audio) else ""))
    assert play.push_audio(build_silence(39.5)) == []
    (final,) = filter_frames(play.push_audio(np.full(24_000, 0.5, np.float32)), "final")
    assert (final["segment_id"], final["segment_start"], final["segment_end"]) == (1, 39.5, 41.0)


def test_a_commit_without_new_audio_brings_no_extra_final() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.push_audio(build_silence(2.0))
    assert [f["type"] for f in play.send({"type": "commit"})] == ["full_transcript"]
    assert play.send({"type": "commit"}) == [{"type": "full_transcript", "text": ""}]


def test_a_commit_starts_the_transcript_afresh_and_leaves_clock_and_ids() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.push_audio(build_silence(1.0))
    assert frame_texts(play.send({"type": "commit"}), "full_transcript") == ["foo"]
    play.push_audio(build_silence(0.5))
    final, transcript = play.send({"type": "commit"})
    assert (final["segment_id"], final["segment_start"], final["segment_end"]) == (2, 1.0, 1.5)
    assert transcript["text"] == "foo"


def test_reset_is_a_fresh_session() -> None:
    play, fresh = SessionDriver(build_fixed_engine("foo")), SessionDriver(build_fixed_engine("foo"))
    play.push_audio(build_silence(3.3))
    assert play.send({"type": "reset"}) == [{"type": "status", "state": "reset"}]
    for one in (play, fresh):
        one.frames.clear()
        one.push_audio(build_silence(5.1))
        one.send({"type": "commit"})
    assert play.frames == fresh.frames


def test_reset_forgets_decodes_that_are_under_way() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.perform_effects(play.session.receive(Audio(build_silence(2.0).tobytes())))
    late = play.open_decodes
    assert late
    assert play.send({"type": "reset"}) == [{"type": "status", "state": "reset"}]
    assert all(not play.session.on_decoded(d.key, play.engine.decode([d.window])[0]) for d in late)


def test_what_was_committed_before_a_reset_is_delivered_before_it() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    for message in (
        Audio(build_silence(0.9).tobytes()),
        Commit(),
        Audio(build_silence(0.7).tobytes()),
        Reset(),
    ):
        play.perform_effects(play.session.receive(message))
    play.perform_effects(play.session.receive(Audio(build_silence(2.0).tobytes())))
    play.finish_all()
    assert [f["type"] for f in play.frames] == ["final", "full_transcript", "status", "final"]
    assert (play.frames[-1]["segment_id"], play.frames[-1]["segment_start"]) == (1, 0.0)


def test_stop_delivers_what_is_pending_and_closes() -> None:
    play = SessionDriver(build_fixed_engine("tail"))
    play.push_audio(build_silence(0.7))
    assert [f["type"] for f in play.send({"type": "stop"})] == ["final", "full_transcript"]
    assert play.close_code == 1000


def test_nothing_follows_a_close() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.send({"type": "stop"})
    assert play.send({"type": "ping"}) == []
    assert play.push_audio(build_silence(5.0)) == []


def test_ping_is_answered_while_a_decode_runs() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.perform_effects(play.session.receive(Audio(build_silence(2.0).tobytes())))
    assert play.open_decodes
    play.perform_effects(play.session.receive(decode_message('{"type": "ping"}')))
    assert play.frames == [{"type": "pong"}]


def test_a_config_is_answered_with_the_values_in_force() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    (status,) = play.send({"type": "config", "model": "parakeet", "sample_rate": 8000, "shape": "round"})
    assert status["state"] == "configured"
    assert (status["sample_rate"], status["chunk_duration"], status["model_variant"]) == (
        8000,
        2.0,
        "standard",
    )
    assert status["active_model"] == "answering"
    assert status["ignored"] == ["shape"]


def test_a_bad_config_changes_nothing_and_ends_nothing() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.send({"type": "config", "chunk_duration": 1.0, "overlap_duration": 0.0})
    (error,) = play.send({"type": "config", "chunk_duration": -1})
    assert (error["code"], error["error_type"], error["field"]) == (
        "invalid_config",
        "invalid_config",
        "chunk_duration",
    )
    assert [f["segment_end"] for f in filter_frames(play.push_audio(build_silence(3.0)), "final")] == [
        1.0,
        2.0,
        3.0,
    ]


def test_a_config_in_the_middle_finalises_what_is_pending_and_goes_on() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.push_audio(build_silence(2.6))
    final, status = play.send({"type": "config", "chunk_duration": 1.0, "overlap_duration": 0.2})
    assert (final["segment_start"], final["segment_end"]) == (2.0, 2.6)
    assert status["state"] == "configured"
    (next_final,) = filter_frames(play.push_audio(build_silence(0.8)), "final")
    assert _place(next_final) == (3, 2.6, 3.4, 0.2, 2.4, 3.4, 1.0, 0.8, 3.4)


def test_a_new_sample_rate_keeps_the_clock() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.push_audio(build_silence(2.5))
    play.send({"type": "config", "sample_rate": 48_000})
    (final,) = filter_frames(play.push_audio(build_silence(1.5, 48_000)), "final")
    assert (final["segment_start"], final["segment_end"], final["chunk_start"]) == (2.5, 4.0, 2.0)


def test_audio_before_any_config_is_transcribed_with_the_defaults() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    payload = base64.b64encode(build_silence(2.0).tobytes()).decode()
    (final,) = filter_frames(play.send({"type": "audio", "data": payload}), "final")
    assert final["text"] == "foo"


def test_bad_audio_is_named_and_dropped_and_the_session_goes_on() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    assert play.send(b"abc")[0]["code"] == "bad_audio"
    assert play.send(np.array([np.nan], np.float32).tobytes())[0]["code"] == "bad_audio"
    assert filter_frames(play.push_audio(build_silence(2.0)), "final")


def test_a_model_that_is_not_there_is_an_error_and_another_config_may_follow() -> None:
    def answer(request: object) -> OpenedModel | ModelUnavailable:
        model = getattr(request, "model", "")
        if model == "whisper":
            return OpenedModel("whisper", EngineRequirements("overlap"))
        return ModelUnavailable(model, "It is not installed.", "pip install it")

    play = SessionDriver(build_fixed_engine("foo"), model_resolver=answer)
    (error,) = play.send({"type": "config", "model": "parakeet"})
    assert (error["code"], error["install"]) == ("model_unavailable", "pip install it")
    assert play.push_audio(build_silence(2.0)) == []
    (status,) = play.send({"type": "config", "model": "whisper"})
    assert status["active_model"] == "whisper"
    assert frame_texts(play.push_audio(build_silence(2.0))) == ["foo"]


def test_audio_that_no_model_hears_is_told_once_until_something_changes() -> None:
    play = SessionDriver(
        build_fixed_engine("foo"),
        model_resolver=lambda _: ModelUnavailable("parakeet", "It is not installed."),
    )
    assert [f["code"] for f in play.push_audio(build_silence(2.0))] == ["model_unavailable"]
    assert [play.push_audio(build_silence(2.0)) for _ in range(3)] == [[], [], []]
    assert [f["code"] for f in play.send({"type": "config"})] == ["model_unavailable"]
    assert play.push_audio(build_silence(2.0)) == []
    assert [f["type"] for f in play.send({"type": "reset"})] == ["status"]
    assert [f["code"] for f in play.push_audio(build_silence(2.0))] == ["model_unavailable"]
    assert play.send({"type": "stop"}) == []
    assert play.close_code == 1000


def test_audio_is_heard_by_the_default_where_only_the_model_of_a_config_is_missing() -> None:
    def answer(request: object) -> OpenedModel | ModelUnavailable:
        if getattr(request, "model", "") == "parakeet":
            return OpenedModel("parakeet", EngineRequirements("overlap"))
        return ModelUnavailable("whisper", "It is not installed.")

    play = SessionDriver(build_fixed_engine("foo"), model_resolver=answer)
    assert filter_frames(play.send({"type": "config", "model": "whisper"}), "error")
    assert frame_texts(play.push_audio(build_silence(2.0))) == ["foo"]


def test_a_model_that_is_not_there_leaves_the_old_one_at_work() -> None:
    def answer(request: object) -> OpenedModel | ModelUnavailable:
        if getattr(request, "model", "") == "parakeet":
            return OpenedModel("parakeet", EngineRequirements("overlap"))
        return ModelUnavailable("whisper", "It is not installed.")

    play = SessionDriver(build_fixed_engine("foo"), model_resolver=answer)
    play.push_audio(build_silence(2.0))
    assert filter_frames(play.send({"type": "config", "model": "whisper", "sample_rate": 8000}), "error")
    (final,) = filter_frames(play.push_audio(build_silence(1.5)), "final")
    assert (final["segment_start"], final["segment_end"]) == (2.0, 3.5)


def test_a_fallback_is_announced_once_before_the_status() -> None:
    play = SessionDriver(
        build_fixed_engine("foo"),
        model_resolver=lambda _: OpenedModel("moonshine", EngineRequirements("overlap"), "It stands in."),
    )
    warning, status = play.send({"type": "config", "model_variant": "onnx"})
    assert (warning["code"], warning["fallback"]) == ("model_fallback", True)
    assert (warning["original_model"], warning["active_model"]) == ("parakeet", "moonshine")
    assert status["state"] == "configured"
    assert [f["type"] for f in play.send({"type": "config", "language": "en"})] == ["status"]


def test_what_comes_while_a_model_loads_waits_its_turn_but_ping_does_not() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    session = play.session
    session.receive(decode_message('{"type": "config", "model": "parakeet"}'))
    assert session.receive(Audio(build_silence(2.0).tobytes())) == []
    assert session.backlog == pytest.approx(2.0)
    play.perform_effects(session.receive(decode_message('{"type": "ping"}')))
    play.perform_effects(session.receive(decode_message('{"type": "commit"}')))
    play.perform_effects(session.on_model_opened(OpenedModel("answering", EngineRequirements("overlap"))))
    play.finish_all()
    assert [f["type"] for f in play.frames] == ["pong", "status", "final", "full_transcript"]


def test_a_failed_decode_is_tried_again() -> None:
    calls = iter([RuntimeError("no"), None])

    def answer(_: object) -> str:
        problem = next(calls)
        if problem:
            raise problem
        return "second time"

    play = SessionDriver(FunctionEngine(answer), Session(defaults=StreamConfig(enable_partial=False)))
    assert frame_texts(play.push_audio(build_silence(2.0))) == ["second time"]


def test_a_window_that_cannot_be_decoded_is_a_gap_with_its_times_and_no_words() -> None:
    def answer(window: object) -> str:
        if 3.0 < getattr(window, "start", 0.0) + 2.0 < 4.0:
            raise RuntimeError("the text of a foreign error")
        return "foo"

    play = SessionDriver(FunctionEngine(answer), Session(defaults=StreamConfig(enable_partial=False)))
    frames = play.push_audio(build_silence(5.0))
    assert [f["type"] for f in frames] == ["final", "error", "final"]
    assert (frames[1]["code"], frames[1]["start"], frames[1]["end"]) == ("decode_failed", 1.5, 3.5)
    assert "foreign" not in str(frames)
    assert frames[2]["segment_start"] == 3.5


def test_finals_leave_in_order_whatever_order_decodes_finish_in() -> None:
    straight = SessionDriver(build_fixed_engine("foo"))
    straight.push_audio(build_silence(40.0))
    for seed in range(5):
        play = SessionDriver(build_fixed_engine("foo"), shuffle_seed=seed)
        play.push_audio(build_silence(40.0))
        assert play.frames == straight.frames


def test_a_partial_that_newer_audio_overtook_is_dropped() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    for _ in range(3):
        play.perform_effects(play.session.receive(Audio(build_silence(0.5).tobytes())))
    (waiting,) = play.open_decodes
    assert waiting.window.audio.size == 24_000
    play.perform_effects(play.session.receive(Audio(build_silence(0.5).tobytes())))
    assert [d.is_final for d in play.open_decodes] == [True]
    play.finish_all()
    assert [f["type"] for f in play.frames] == ["final"]


def test_partials_keep_a_cadence_of_audio() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.push_in_messages(build_silence(3.6), [1_600] * 40)
    assert [p["segment_end"] for p in filter_frames(play.frames, "partial")] == [0.5, 1.0, 1.5, 2.5, 3.0]
    assert [p["segment_id"] for p in filter_frames(play.frames, "partial")] == [1, 1, 1, 2, 2]


def test_partials_come_less_often_where_the_pace_is_slower() -> None:
    counts = []
    for pace in (1, 2, 4, 8):
        play = SessionDriver(build_fixed_engine("foo"))
        play.session.partial_every = pace
        play.send({"type": "config", "chunk_duration": 4.1, "overlap_duration": 0})
        play.push_in_messages(build_silence(4.0), [1_600] * 40)
        counts.append(len(filter_frames(play.frames, "partial")))
    assert counts == [8, 4, 2, 1]


def test_progress_counts_audio_that_finals_are_due_for() -> None:
    play = SessionDriver(build_fixed_engine("foo"), Session())
    play.send({"type": "config", "enable_partial": False})
    play.perform_effects(play.session.receive(build_audio_frame(build_silence(4.0))))
    play.perform_effects(play.session.receive(build_audio_frame(build_silence(1.0))))
    assert play.session.progress == (3_500_000 + 1_500_000, 0)
    play.finish_all()
    assert play.session.progress == (5_000_000, 5_000_000)
    assert play.session.backlog == 0


def test_partials_can_be_switched_off() -> None:
    play = SessionDriver(build_fixed_engine("foo"))
    play.send({"type": "config", "enable_partial": False})
    play.push_in_messages(build_silence(4.0), [1_600] * 40)
    assert filter_frames(play.frames, "partial") == []


def test_an_end_from_outside_delivers_first() -> None:
    play = SessionDriver(build_fixed_engine("tail"))
    play.push_audio(build_silence(0.8))
    play.perform_effects(play.session.end_stream(1001))
    play.finish_all()
    assert frame_texts(play.frames) == ["tail"]
    assert play.close_code == 1001


def test_a_long_message_is_worked_through_in_bites_and_loses_nothing() -> None:
    session = Session(defaults=StreamConfig(enable_partial=False))
    play = SessionDriver(build_fixed_engine("foo"), session)
    play.push_audio(build_silence(0.1))
    first = session.receive(Audio(build_silence(40.0).tobytes()))
    assert len(first) < 10
    assert session.backlog > 30
    play.perform_effects(first)
    play.perform_effects(session.end_stream(1001))
    play.finish_all()
    assert [f["segment_end"] for f in filter_frames(play.frames, "final")][-1] == 40.1


def test_words_carry_times_where_the_engine_knows_them() -> None:
    engine = ScriptedEngine(STATEFUL)
    play = SessionDriver(
        engine,
        model_resolver=lambda _: OpenedModel("scripted", EngineRequirements("stateful", has_word_times=True)),
    )
    play.send({"type": "config", "word_timestamps": True})
    play.push_audio(draw_words(["one", ("", 1.0), "two"]))
    play.send({"type": "commit"})
    words = [w for f in filter_frames(play.frames, "final") for w in f["words"]]  # type: ignore[attr-defined]
    assert [(w["word"], w["start"]) for w in words] == [
        ("one", pytest.approx(0.0)),
        ("two", pytest.approx(1.4, abs=0.01)),
    ]


@pytest.mark.parametrize(
    ("language", "languages", "warned"),
    [
        ("de", ("en",), True),
        ("en", ("en",), False),
        ("en-GB", ("en",), False),
        ("EN_us", ("en",), False),
        (None, ("en",), False),
        ("de", (), False),
    ],
)
def test_a_language_that_the_model_does_not_know_is_told(
    language: str | None, languages: tuple[str, ...], *, warned: bool
) -> None:
    answer = OpenedModel("small", EngineRequirements("overlap"), languages=languages)
    session = Session()
    session.receive(Config({"language": language}))
    sent = [effect.frame for effect in session.on_model_opened(answer) if isinstance(effect, Send)]
    codes = [frame.code for frame in sent if isinstance(frame, Warning)]
    assert codes == (["language_unsupported"] if warned else [])
