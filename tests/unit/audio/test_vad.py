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
CONFIG = VadConfig(
    start_threshold=0.5,
    continue_threshold=0.35,
    min_speech_seconds=0.2,
    pause_seconds=0.3,
    padding_seconds=0.1,
    max_seconds=2.0,
    split_search_seconds=1.0,
)


class LevelDetector:
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


def detect_utterances(*levels: float, config: VadConfig = CONFIG) -> UtteranceDetector:
    detector = UtteranceDetector(LevelDetector(), config)
    detector.push(sound(*levels))
    return detector


def list_utterances(detector: UtteranceDetector) -> list[Utterance]:
    return list(detector.utterances)


def test_a_pause_ends_an_utterance() -> None:
    detector = detect_utterances(0, 0, 1, 1, 1, 0, 0)
    assert detector.utterances == (Utterance(10, None),)
    detector.push(sound(0))
    assert detector.utterances == (Utterance(10, 60),)


def test_a_short_gap_does_not_end_an_utterance() -> None:
    assert detect_utterances(1, 1, 0, 0, 1, 1, 0, 0, 0).utterances == (Utterance(0, 70),)


def test_short_speech_is_no_utterance() -> None:
    detector = detect_utterances(0, 1)
    assert detector.utterances == ()
    detector.push(sound(0, 0, 0, 0))
    assert detector.utterances == ()
    assert detector.has_speech(0, 60)


def test_weak_speech_continues_but_does_not_start() -> None:
    assert detect_utterances(0.4, 0.4, 0.4).utterances == ()
    assert detect_utterances(0, 1, 0.4, 0.4, 0, 0, 0).utterances == (Utterance(0, 50),)


def test_padding_never_reaches_into_the_utterance_before() -> None:
    config = VadConfig(min_speech_seconds=0.2, pause_seconds=0.3, padding_seconds=0.3)
    detector = detect_utterances(1, 1, 0, 0, 0, 1, 1, config=config)
    assert detector.utterances == (Utterance(0, 50), Utterance(50, None))


def test_long_speech_is_split_where_it_is_quietest() -> None:
    levels = [1.0] * 20
    levels[15] = 0.4
    detector = detect_utterances(*levels)
    assert detector.utterances == (Utterance(0, 155), Utterance(155, None))


def test_the_split_is_searched_only_in_recent_audio() -> None:
    levels = [1.0] * 20
    levels[5] = 0.4
    (first, _) = detect_utterances(*levels).utterances
    assert first.end is not None
    assert first.end > 100


def test_trailing_silence_counts_from_the_last_speech() -> None:
    detector = detect_utterances(0, 0)
    assert detector.trailing_silence == 20
    detector.push(sound(1, 1))
    assert detector.trailing_silence == 0
    detector.push(sound(0, 0)[:15])
    assert detector.trailing_silence == 15


def test_close_ends_an_open_utterance_even_if_short() -> None:
    detector = detect_utterances(0, 0, 1)
    detector.push(sound(1)[:4])
    assert list_utterances(detector) == []
    detector.close_utterance()
    assert list_utterances(detector) == [Utterance(10, 34)]
    detector.close_utterance()
    assert list_utterances(detector) == [Utterance(10, 34)]


def test_close_without_speech_makes_no_utterance() -> None:
    detector = detect_utterances(0, 0, 0)
    detector.close_utterance()
    assert detector.utterances == ()


def test_speech_after_close_is_a_new_utterance() -> None:
    detector = detect_utterances(1, 1)
    detector.close_utterance()
    detector.push(sound(1, 1, 0))
    assert detector.utterances == (Utterance(0, 20), Utterance(20, None))


def test_speech_is_found_between_positions() -> None:
    detector = detect_utterances(0, 1, 1, 0, 0, 0, 1)
    assert not detector.has_speech(0, 10)
    assert detector.has_speech(0, 11)
    assert detector.has_speech(29, 40)
    assert not detector.has_speech(30, 60)


def test_discarding_keeps_the_open_utterance() -> None:
    detector = detect_utterances(1, 1, 0, 0, 0, 1, 1)
    detector.discard_before(30)
    assert detector.utterances == (Utterance(40, None),)
    assert not detector.has_speech(0, 50)
    assert detector.has_speech(0, 70)


levels = st.lists(st.sampled_from([0.0, 0.4, 1.0]), min_size=1, max_size=80)


@given(levels, st.lists(st.integers(min_value=0, max_value=60)), st.integers(min_value=0, max_value=9))
def test_utterances_do_not_depend_on_the_chunks(heights: list[float], cuts: list[int], tail: int) -> None:
    audio = np.concatenate((sound(*heights), np.ones(tail, dtype=np.float32)))
    whole, cut = UtteranceDetector(LevelDetector(), CONFIG), UtteranceDetector(LevelDetector(), CONFIG)
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
def test_utterances_are_disjoint_and_contain_all_long_speech(heights: list[float]) -> None:
    detector = detect_utterances(*heights)
    detector.close_utterance()
    end = 0
    for utterance in detector.utterances:
        assert utterance.end is not None
        assert end <= utterance.start < utterance.end <= detector.consumed
        assert detector.has_speech(utterance.start, utterance.end)
        end = utterance.end
    for first in range(len(heights) - 2):
        if min(heights[first : first + 3]) == 1.0:
            middle = first * FRAME + FRAME
            assert any(known.start <= middle < (known.end or 0) for known in detector.utterances)
