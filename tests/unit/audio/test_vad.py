from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from echoic.audio.vad import Utterance, UtteranceDetector, VadConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FRAME = 10
RATE = 100
#: A pause of three frames, two frames of speech at least, one frame of padding.
RULES = VadConfig(
    start_threshold=0.5,
    continue_threshold=0.35,
    min_speech_seconds=0.2,
    pause_seconds=0.3,
    padding_seconds=0.1,
    max_seconds=2.0,
    split_search_seconds=1.0,
)


class LevelVoice:
    """Takes the level of a frame for its probability of speech."""

    sample_rate = RATE
    frame_samples = FRAME

    def __init__(self) -> None:
        self.calls: list[int] = []

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        self.calls.append(len(frames))
        return [float(level) for level in frames.mean(axis=1)]


def sound(*levels: float) -> NDArray[np.float32]:
    return np.repeat(np.array(levels, dtype=np.float32), FRAME)


def heard(*levels: float, rules: VadConfig = RULES) -> UtteranceDetector:
    tracker = UtteranceDetector(LevelVoice(), rules)
    tracker.push(sound(*levels))
    return tracker


def shown(tracker: UtteranceDetector) -> list[Utterance]:
    return list(tracker.utterances)


def test_an_utterance_goes_on_until_a_pause_ends_it() -> None:
    tracker = heard(0, 0, 1, 1, 1, 0, 0)
    assert tracker.utterances == (Utterance(10, None),)
    tracker.push(sound(0))
    assert tracker.utterances == (Utterance(10, 60),)


def test_a_short_gap_does_not_end_an_utterance() -> None:
    assert heard(1, 1, 0, 0, 1, 1, 0, 0, 0).utterances == (Utterance(0, 70),)


def test_speech_that_is_too_short_is_no_utterance() -> None:
    tracker = heard(0, 1)
    assert tracker.utterances == ()
    tracker.push(sound(0, 0, 0, 0))
    assert tracker.utterances == ()
    assert tracker.has_speech(0, 60)


def test_weak_speech_goes_on_but_does_not_begin() -> None:
    assert heard(0.4, 0.4, 0.4).utterances == ()
    assert heard(0, 1, 0.4, 0.4, 0, 0, 0).utterances == (Utterance(0, 50),)


def test_padding_never_reaches_into_the_utterance_before() -> None:
    rules = VadConfig(min_speech_seconds=0.2, pause_seconds=0.3, padding_seconds=0.3)
    tracker = heard(1, 1, 0, 0, 0, 1, 1, rules=rules)
    assert tracker.utterances == (Utterance(0, 50), Utterance(50, None))


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    levels = [1.0] * 20
    levels[15] = 0.4
    tracker = heard(*levels)
    assert tracker.utterances == (Utterance(0, 155), Utterance(155, None))


def test_an_old_quiet_place_is_not_where_it_is_cut() -> None:
    levels = [1.0] * 20
    levels[5] = 0.4
    (first, _) = heard(*levels).utterances
    assert first.end is not None
    assert first.end > 100


def test_trailing_silence_counts_from_the_last_speech() -> None:
    tracker = heard(0, 0)
    assert tracker.trailing_silence == 20
    tracker.push(sound(1, 1))
    assert tracker.trailing_silence == 0
    tracker.push(sound(0, 0)[:15])
    assert tracker.trailing_silence == 15


def test_close_ends_what_goes_on_even_if_it_is_short() -> None:
    tracker = heard(0, 0, 1)
    tracker.push(sound(1)[:4])
    assert shown(tracker) == []
    tracker.close_utterance()
    assert shown(tracker) == [Utterance(10, 34)]
    tracker.close_utterance()
    assert shown(tracker) == [Utterance(10, 34)]


def test_close_without_speech_makes_no_utterance() -> None:
    tracker = heard(0, 0, 0)
    tracker.close_utterance()
    assert tracker.utterances == ()


def test_speech_after_close_is_a_new_utterance_and_shares_no_sample() -> None:
    tracker = heard(1, 1)
    tracker.close_utterance()
    tracker.push(sound(1, 1, 0))
    assert tracker.utterances == (Utterance(0, 20), Utterance(20, None))


def test_speech_between_knows_where_there_was_speech() -> None:
    tracker = heard(0, 1, 1, 0, 0, 0, 1)
    assert not tracker.has_speech(0, 10)
    assert tracker.has_speech(0, 11)
    assert tracker.has_speech(29, 40)
    assert not tracker.has_speech(30, 60)


def test_forget_drops_what_is_over_and_keeps_what_goes_on() -> None:
    tracker = heard(1, 1, 0, 0, 0, 1, 1)
    tracker.discard_before(30)
    assert tracker.utterances == (Utterance(40, None),)
    assert not tracker.has_speech(0, 50)
    assert tracker.has_speech(0, 70)


levels = st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=1, max_size=80)


@given(levels, st.lists(st.integers(min_value=0, max_value=60)), st.integers(min_value=0, max_value=9))
def test_how_the_audio_is_cut_changes_nothing(heights: list[float], cuts: list[int], tail: int) -> None:
    audio = np.concatenate((sound(*heights), np.ones(tail, dtype=np.float32)))
    whole, cut = UtteranceDetector(LevelVoice(), RULES), UtteranceDetector(LevelVoice(), RULES)
    whole.push(audio)
    at = 0
    for size in cuts:
        cut.push(audio[at : at + size])
        at += size
    cut.push(audio[at:])
    for _ in range(2):
        assert whole.utterances == cut.utterances
        assert whole.trailing_silence == cut.trailing_silence
        assert whole.consumed == cut.consumed == len(audio)
        for start in range(0, len(audio), 7):
            assert whole.has_speech(start, start + 5) == cut.has_speech(start, start + 5)
        whole.close_utterance()
        cut.close_utterance()


@given(levels)
def test_utterances_are_in_order_share_no_sample_and_hold_all_long_speech(heights: list[float]) -> None:
    tracker = heard(*heights)
    tracker.close_utterance()
    end = 0
    for utterance in tracker.utterances:
        assert utterance.end is not None
        assert end <= utterance.start < utterance.end <= tracker.consumed
        assert tracker.has_speech(utterance.start, utterance.end)
        end = utterance.end
    for first in range(len(heights) - 2):
        if min(heights[first : first + 3]) == 1.0:
            middle = first * FRAME + FRAME
            assert any(known.start <= middle < (known.end or 0) for known in tracker.utterances)
