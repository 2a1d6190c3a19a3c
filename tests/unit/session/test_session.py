"""Tests of the session that the wire cannot show: order of decodes, queued frames, steps, grants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.scripted import PlateauDetector, ScriptedEngine
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import Audio, Commit, Reset, Stop
from echoic.session.config import StreamConfig
from echoic.session.effects import Continue
from echoic.session.session import Session
from support.session_driver import SessionDriver, build_audio_frame, build_silence, filter_frames, frame_texts
from support.simple_engines import build_fixed_engine
from support.strategies import SpokenWords, spoken_words


def test_reset_cancels_running_decodes() -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    driver.perform_effects(driver.session.receive(Audio(build_silence(2.0).tobytes())))
    late = driver.open_decodes
    assert late
    assert driver.send({"type": "reset"}) == [{"type": "status", "state": "reset"}]
    assert all(not driver.session.on_decoded(d.key, driver.engine.decode([d.window])[0]) for d in late)


def test_replies_to_a_commit_come_before_a_later_reset() -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    for message in (
        Audio(build_silence(0.9).tobytes()),
        Commit(),
        Audio(build_silence(0.7).tobytes()),
        Reset(),
    ):
        driver.perform_effects(driver.session.receive(message))
    driver.perform_effects(driver.session.receive(Audio(build_silence(2.0).tobytes())))
    driver.finish_all()
    assert [f["type"] for f in driver.frames] == ["final", "full_transcript", "status", "final"]
    assert (driver.frames[-1]["segment_id"], driver.frames[-1]["segment_start"]) == (1, 0.0)


def test_ping_is_answered_while_a_decode_runs() -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    driver.perform_effects(driver.session.receive(Audio(build_silence(2.0).tobytes())))
    assert driver.open_decodes
    driver.perform_effects(driver.session.receive(decode_message('{"type": "ping"}')))
    assert driver.frames == [{"type": "pong"}]


def test_a_missing_model_is_reported_once_until_a_config_or_reset() -> None:
    driver = SessionDriver(
        build_fixed_engine("foo"),
        model_resolver=lambda _: ModelUnavailable("parakeet", "It is not installed."),
    )
    assert [f["code"] for f in driver.push_audio(build_silence(2.0))] == ["model_unavailable"]
    assert [driver.push_audio(build_silence(2.0)) for _ in range(3)] == [[], [], []]
    assert [f["code"] for f in driver.send({"type": "config"})] == ["model_unavailable"]
    assert driver.push_audio(build_silence(2.0)) == []
    assert [f["type"] for f in driver.send({"type": "reset"})] == ["status"]
    assert [f["code"] for f in driver.push_audio(build_silence(2.0))] == ["model_unavailable"]
    assert driver.send({"type": "stop"}) == []
    assert driver.close_code == 1000


def test_the_default_model_decodes_after_a_failed_config() -> None:
    def answer(request: object) -> OpenedModel | ModelUnavailable:
        if getattr(request, "model", "") == "parakeet":
            return OpenedModel("parakeet", EngineRequirements("overlap"))
        return ModelUnavailable("whisper", "It is not installed.")

    driver = SessionDriver(build_fixed_engine("foo"), model_resolver=answer)
    assert filter_frames(driver.send({"type": "config", "model": "whisper"}), "error")
    assert frame_texts(driver.push_audio(build_silence(2.0))) == ["foo"]


def test_frames_other_than_ping_are_queued_while_a_model_opens() -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    session = driver.session
    session.receive(decode_message('{"type": "config", "model": "parakeet"}'))
    assert session.receive(Audio(build_silence(2.0).tobytes())) == []
    assert session.backlog == pytest.approx(2.0)
    driver.perform_effects(session.receive(decode_message('{"type": "ping"}')))
    driver.perform_effects(session.receive(decode_message('{"type": "commit"}')))
    driver.perform_effects(session.on_model_opened(OpenedModel("answering", EngineRequirements("overlap"))))
    driver.finish_all()
    assert [f["type"] for f in driver.frames] == ["pong", "status", "final", "full_transcript"]


def test_a_partial_is_replaced_by_newer_audio() -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    for _ in range(3):
        driver.perform_effects(driver.session.receive(Audio(build_silence(0.5).tobytes())))
    (waiting,) = driver.open_decodes
    assert waiting.window.audio.size == 24_000
    driver.perform_effects(driver.session.receive(Audio(build_silence(0.5).tobytes())))
    assert [d.is_final for d in driver.open_decodes] == [True]
    driver.finish_all()
    assert [f["type"] for f in driver.frames] == ["final"]


def test_partial_every_reduces_partials() -> None:
    counts = []
    for pace in (1, 2, 4, 8):
        driver = SessionDriver(build_fixed_engine("foo"))
        driver.session.partial_every = pace
        driver.send({"type": "config", "chunk_duration": 4.1, "overlap_duration": 0})
        driver.push_in_messages(build_silence(4.0), [1_600] * 40)
        counts.append(len(filter_frames(driver.frames, "partial")))
    assert counts == [8, 4, 2, 1]


def test_progress_counts_the_audio_of_ended_segments() -> None:
    driver = SessionDriver(build_fixed_engine("foo"), Session())
    driver.send({"type": "config", "enable_partial": False})
    driver.perform_effects(driver.session.receive(build_audio_frame(build_silence(4.0))))
    driver.perform_effects(driver.session.receive(build_audio_frame(build_silence(1.0))))
    assert driver.session.progress == (3_500_000 + 1_500_000, 0)
    driver.finish_all()
    assert driver.session.progress == (5_000_000, 5_000_000)
    assert driver.session.backlog == 0


def test_end_stream_delivers_before_the_close() -> None:
    driver = SessionDriver(build_fixed_engine("tail"))
    driver.push_audio(build_silence(0.8))
    driver.perform_effects(driver.session.end_stream(1001))
    driver.finish_all()
    assert frame_texts(driver.frames) == ["tail"]
    assert driver.close_code == 1001


def test_a_long_message_is_processed_in_steps() -> None:
    session = Session(defaults=StreamConfig(enable_partial=False))
    driver = SessionDriver(build_fixed_engine("foo"), session)
    driver.push_audio(build_silence(0.1))
    first = session.receive(Audio(build_silence(40.0).tobytes()))
    assert len(first) < 10
    assert session.backlog > 30
    driver.perform_effects(first)
    driver.perform_effects(session.end_stream(1001))
    driver.finish_all()
    assert [f["segment_end"] for f in filter_frames(driver.frames, "final")][-1] == 40.1


class AudioBudget:
    """Grants a total number of samples, and answers only every n-th request."""

    def __init__(self, samples: int, delay: int) -> None:
        self.left = samples
        self._delay = self._remaining_delay = delay

    def grant(self, samples: int, _: int) -> int | None:
        if self._remaining_delay:
            self._remaining_delay -= 1
            return None
        self._remaining_delay = self._delay
        granted = min(samples, self.left)
        self.left -= granted
        return granted


def _run_session(
    speech: SpokenWords, samples: int, sizes: list[int], budget_holder: AudioBudget | None
) -> list[dict[str, object]]:
    driver = SessionDriver(
        ScriptedEngine(), Session(PlateauDetector, grant=budget_holder.grant if budget_holder else None)
    )
    audio = speech.samples if budget_holder else speech.samples[:samples]
    driver.send({"type": "config", "enable_partial": False})
    driver.push_in_messages(audio, sizes)
    driver.perform_effects(driver.session.end_stream(4003))
    driver.finish_all()
    assert driver.close_code == 4003
    return driver.frames


@given(
    spoken_words(max_words=6),
    st.integers(0, 200_000),
    st.lists(st.integers(1, 60_000), max_size=8),
    st.integers(0, 2),
)
def test_exactly_the_granted_audio_is_delivered(
    speech: SpokenWords, budget: int, sizes: list[int], delay: int
) -> None:
    said = _run_session(speech, budget, sizes, AudioBudget(budget, delay))
    assert said == _run_session(speech, budget, [], None)


def test_frames_after_refused_audio_are_dropped_except_the_end() -> None:
    driver = SessionDriver(ScriptedEngine(), Session(grant=AudioBudget(40_000, delay=0).grant))
    driver.push_audio(build_silence(0.1))
    effects = driver.session.receive(build_audio_frame(build_silence(4.0)))
    assert Continue() in effects
    assert driver.session.receive(Stop()) == []
    driver.perform_effects([effect for effect in effects if effect != Continue()])
    driver.perform_effects(driver.session.continue_audio())
    assert not driver.session.is_ending
    driver.perform_effects(driver.session.end_stream(4003))
    driver.finish_all()
    assert driver.close_code == 4003
