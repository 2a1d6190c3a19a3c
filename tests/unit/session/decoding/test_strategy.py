"""What each reading owes its windows: the seams of engines that carry state, give times, or neither."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, PlateauDetector, ScriptedEngine, draw_words
from echoic.interfaces.engine import EngineRequirements
from echoic.session.session import Session
from support.play import SessionDriver, build_silence, frame_texts
from support.speakers import TimedScripted

COMMIT: dict[str, object] = {"type": "commit"}


@pytest.mark.parametrize(("chunk", "overlap"), [(0.2, 0.1), (1.0, 0.9), (0.7, 0.1), (1.0, 0.2)])
def test_a_word_longer_than_its_windows_is_said_once_where_there_are_times(
    chunk: float, overlap: float
) -> None:
    for lengths in itertools.product([0.1, 0.25, 0.4, 0.9], repeat=3):
        play = SessionDriver(TimedScripted())
        play.send({"type": "config", "chunk_duration": chunk, "overlap_duration": overlap})
        play.push_audio(draw_words([("one", seconds) for seconds in lengths]))
        assert play.send(COMMIT)[-1]["text"] == "one one one", lengths


def test_a_word_that_a_commit_cuts_at_once_is_said_after_it_where_there_are_times() -> None:
    play = SessionDriver(TimedScripted())
    audio = draw_words([("", 1.0), ("one", 0.3), ("two", 0.3)])
    play.push_audio(audio[:16_100])
    assert play.send(COMMIT)[-1]["text"] == ""
    play.push_audio(audio[16_100:])
    assert play.send(COMMIT)[-1]["text"] == "one two"


def test_windows_whose_answer_is_known_do_not_keep_others_from_being_decoded() -> None:
    play = SessionDriver(ScriptedEngine(LOCAL_AGREEMENT))
    play.send({"type": "config", "chunk_duration": 0.2, "overlap_duration": 0.1})
    play.push_audio(build_silence(1.7))
    play.push_audio(build_silence(2.3))
    assert frame_texts(play.send(COMMIT), "full_transcript") == [""]


def test_an_utterance_begins_at_the_same_sample_however_late_it_shows() -> None:
    audio = draw_words(["", *["one"] * 3, ("", 1.0), *["two"] * 3])
    said = []
    for step in (len(audio), 1_600, 320):
        play = SessionDriver(ScriptedEngine(LOCAL_AGREEMENT), Session(PlateauDetector))
        play.send({"type": "config", "chunk_duration": 0.2, "overlap_duration": 0.1, "enable_partial": False})
        play.push_in_messages(audio, [step] * (len(audio) // step + 1))
        play.send(COMMIT)
        said.append(play.frames)
    assert said[0] == said[1] == said[2]
    assert np.all([frame_texts(frames, "full_transcript") == ["one one one two two two"] for frames in said])


def test_a_carried_word_is_not_held_back_for_right_context_once_there_is_silence() -> None:
    needs = EngineRequirements("stateful", left_context=1.0, right_context=1.5)
    audio = draw_words(["", "one", "two", ("", 4.0)])
    spoken = (np.flatnonzero(audio)[-1] + 1) / 16_000

    def completed(session: Session) -> float:
        play = SessionDriver(ScriptedEngine(needs), session)
        play.send({"type": "config", "chunk_duration": 0.5, "overlap_duration": 0.0, "enable_partial": False})
        play.push_in_messages(audio, [1_600] * (len(audio) // 1_600))
        [last] = [frame for frame in play.frames if str(frame.get("text", "")).endswith("two")]
        return float(str(last["segment_end"]))

    assert completed(Session(PlateauDetector)) <= spoken + 1.0 + 0.1
    assert completed(Session()) >= spoken + 1.4


def test_a_partial_shows_words_that_wait_for_their_right_context() -> None:
    play = SessionDriver(ScriptedEngine(EngineRequirements("stateful", left_context=1.0, right_context=1.5)))
    play.push_in_messages(draw_words(["", "one", "two"]), [1_600] * 20)
    shown = [frame["text"] for frame in play.frames if frame["type"] == "partial"]
    assert shown == ["one", "one two"]
    assert frame_texts(play.frames) == []


def test_a_word_that_a_commit_cuts_before_the_gate_hears_it_comes_after_the_commit() -> None:
    audio = draw_words([("", 3.0), ("one", 0.1), ("two", 0.4), ("", 1.0)])
    for cut in range(round(2.9 * 16_000), round(3.2 * 16_000), 160):
        play = SessionDriver(ScriptedEngine(STATEFUL), Session(PlateauDetector))
        play.send({"type": "config", "enable_partial": False})
        play.push_audio(audio[:cut])
        play.send({"type": "commit"})
        play.push_audio(audio[cut:])
        play.send({"type": "commit"})
        assert " ".join(frame_texts(play.frames)).split() == ["one", "two"], cut
