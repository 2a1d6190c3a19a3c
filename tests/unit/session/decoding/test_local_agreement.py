"""Utterances through the session: long ones are cut, and no word is said twice or lost at the cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echoic.engines.scripted import LOCAL_AGREEMENT, VOCABULARY, PlateauDetector, ScriptedEngine, draw_words
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token, Window
from echoic.session.config import StreamConfig
from echoic.session.session import Session
from support.play import SessionDriver, filter_frames, frame_texts
from support.speakers import FunctionEngine, TimedScripted

#: Like an engine whose windows all cost the same.
STEPPED = replace(LOCAL_AGREEMENT, window_step_seconds=1.5)


class TimedUtterances(TimedScripted):
    @property
    def requirements(self) -> EngineRequirements:
        return replace(STEPPED, has_word_times=True)


def _spoken(count: int) -> list[str]:
    return [VOCABULARY[(7 * at) % len(VOCABULARY)] for at in range(count)]


@pytest.mark.parametrize("size", [1_600, 10**9])
@pytest.mark.parametrize("count", [40, 75, 150])
@pytest.mark.parametrize("needs", [LOCAL_AGREEMENT, STEPPED], ids=["", "stepped"])
def test_speech_without_a_pause_is_said_once_and_whole(
    needs: EngineRequirements, count: int, size: int
) -> None:
    words = _spoken(count)
    audio = draw_words(words, word_seconds=0.3, gap_seconds=0.1)
    play = SessionDriver(ScriptedEngine(needs), Session(PlateauDetector))
    play.push_in_messages(audio, [size] * (len(audio) // size + 1))
    (transcript,) = play.send({"type": "commit"})[-1:]
    assert str(transcript["text"]).split() == words


@pytest.mark.parametrize("chunk", [2.0, 10.0, 60.0])
def test_a_segment_may_hold_many_utterances(chunk: float) -> None:
    config = StreamConfig(chunk_duration=chunk, enable_partial=False)
    play = SessionDriver(ScriptedEngine(LOCAL_AGREEMENT), Session(PlateauDetector, config))
    for _ in range(8):
        play.push_audio(draw_words(["one", "two", ("", 1.0)]))
    play.send({"type": "stop"})
    assert play.close_code == 1000
    assert " ".join(frame_texts(play.frames)) == " ".join(["one two"] * 8)


def test_a_gap_is_named_by_the_utterance_that_is_lost() -> None:
    def answer(_: object) -> str:
        raise RuntimeError

    play = SessionDriver(FunctionEngine(answer, LOCAL_AGREEMENT), Session(PlateauDetector))
    play.push_audio(draw_words([("", 1.0), *["one"] * 20, ("", 3.0)]))
    (error,) = filter_frames(play.frames, "error")
    assert (error["start"], error["end"]) == (pytest.approx(0.8, abs=0.1), pytest.approx(9.2, abs=0.2))


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("more", [1, 300, 2_000])
def test_audio_that_the_resampler_still_holds_is_decoded_too(rate: int, more: int) -> None:
    config = StreamConfig(sample_rate=rate, overlap_duration=0.0)
    play = SessionDriver(
        FunctionEngine(lambda _: "word", EngineRequirements("overlap")), Session(None, config)
    )
    play.push_audio(np.full(2 * rate, 0.5, np.float32))
    play.send({"type": "commit"})
    play.push_audio(np.full(more, 0.5, np.float32))
    assert frame_texts(play.send({"type": "stop"})) == ["word"]


def test_partials_do_not_repeat_what_was_said_before_a_cut() -> None:
    words = _spoken(75)
    audio = draw_words(words, word_seconds=0.3, gap_seconds=0.1)
    play = SessionDriver(ScriptedEngine(LOCAL_AGREEMENT), Session(PlateauDetector))
    play.push_in_messages(audio, [1_600] * (len(audio) // 1_600 + 1))
    said: list[str] = []
    for frame in play.frames:
        ahead = str(frame["text"]).split()
        if frame["type"] == "final":
            said += ahead
        else:
            settled = ahead[:-1]  # the last word may be cut, and is then misheard
            assert settled == words[len(said) : len(said) + len(settled)]
    assert frame_texts(play.frames)


@pytest.mark.parametrize("partials", [True, False])
@pytest.mark.parametrize("step", [1.0, 1.5, 4.0])
def test_an_utterance_that_goes_on_is_decoded_at_its_steps_only(step: float, *, partials: bool) -> None:
    words, config = _spoken(28), StreamConfig(enable_partial=partials)
    play = SessionDriver(
        ScriptedEngine(replace(LOCAL_AGREEMENT, window_step_seconds=step)), Session(PlateauDetector, config)
    )
    play.push_in_messages(draw_words([("", 0.4), *words, ("", 2.0)]), [1_600] * 160)
    windows = [decode.window for decode in play.requested_decodes]
    over = [window for window in windows if window.is_last]
    lengths = [len(window.audio) for window in windows if not window.is_last]
    assert len(over) == 1
    assert set(lengths) <= set(range(round(step * 16_000), 13 * 16_000, round(step * 16_000)))
    assert len(lengths) <= 13 / step
    assert len(set(lengths)) == len(lengths), "no window is decoded twice"
    assert " ".join(frame_texts(play.frames)).split() == words


def test_what_two_steps_agree_on_is_said_before_the_utterance_is_over() -> None:
    play = SessionDriver(ScriptedEngine(STEPPED), Session(PlateauDetector))
    play.push_audio(draw_words(["one", "two"] * 20))
    assert " ".join(frame_texts(play.frames)).startswith("one two one two")


def test_words_have_their_times_on_the_sessions_clock() -> None:
    words = _spoken(30)
    audio = draw_words(
        [("", 1.0), *words[:10], ("", 2.0), *words[10:], ("", 2.0)], word_seconds=0.3, gap_seconds=0.1
    )
    config = StreamConfig(word_timestamps=True)
    play = SessionDriver(TimedUtterances(), Session(PlateauDetector, config))
    play.push_in_messages(audio, [1_600] * (len(audio) // 1_600 + 1))
    timed = [word for frame in filter_frames(play.frames, "final") for word in frame["words"]]  # type: ignore[attr-defined]
    begins = [1.0 + 0.4 * at for at in range(10)] + [7.0 + 0.4 * at for at in range(20)]
    assert [word["word"] for word in timed] == words
    assert [word["start"] for word in timed] == pytest.approx(begins, abs=0.06)


def test_a_word_that_is_not_sure_and_what_follows_wait_for_the_end_of_the_utterance() -> None:
    def answer(window: Window) -> Hypothesis:
        count = int(len(window.audio) / 16_000 / 0.5)
        tokens = (Token(f" {at}", 0.5 * at, 0.4, 0.4 if at == 3 else 0.9) for at in range(count))
        return Hypothesis(volatile=tuple(tokens))

    for sure, early in ((0.3, "0 1 2 3 4 5"), (0.5, "0 1 2")):
        play = SessionDriver(
            FunctionEngine(answer, replace(STEPPED, min_confidence=sure)), Session(PlateauDetector)
        )
        play.push_audio(draw_words(["one"] * 20))
        assert " ".join(frame_texts(play.frames)).startswith(early)
        assert ("3" in " ".join(frame_texts(play.frames)).split()) == (sure < 0.4)
        play.push_audio(draw_words([("", 2.0)]))
        words = " ".join(frame_texts(play.frames)).split()
        assert words == [str(at) for at in range(len(words))]
        assert len(words) > 15
