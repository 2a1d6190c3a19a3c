import numpy as np

from echoic.diarization.turns import find_best_path, join_turns
from echoic.interfaces.diarizer import SpeakerTurn


def test_the_path_follows_clear_scores() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.1], [0.0, 0.9]], np.float32)
    assert find_best_path(scores, 0.1, None) == [0, 0, 1]


def test_a_change_costs_more_than_a_small_gain() -> None:
    scores = np.array([[0.9, 0.1], [0.50, 0.55], [0.9, 0.1]], np.float32)
    assert find_best_path(scores, 0.1, None) == [0, 0, 0]
    assert find_best_path(scores, 0.0, None) == [0, 1, 0]


def test_the_previous_speaker_is_preferred() -> None:
    scores = np.array([[0.50, 0.55]], np.float32)
    assert find_best_path(scores, 0.1, None) == [1]
    assert find_best_path(scores, 0.1, 0) == [0]


def test_spans_with_short_pauses_are_joined() -> None:
    spans = [((0.0, 1.0), 0), ((1.5, 2.0), 0), ((3.0, 4.0), 0)]
    assert join_turns(spans, 0.8) == (SpeakerTurn(0.0, 2.0, 0), SpeakerTurn(3.0, 4.0, 0))


def test_another_speaker_within_the_pause_separates_turns() -> None:
    spans = [((0.0, 1.0), 0), ((1.1, 1.4), 1), ((1.5, 2.0), 0)]
    assert join_turns(spans, 0.8) == (
        SpeakerTurn(0.0, 1.0, 0),
        SpeakerTurn(1.1, 1.4, 1),
        SpeakerTurn(1.5, 2.0, 0),
    )


def test_overlapping_spans_of_one_speaker_are_joined() -> None:
    spans = [((0.0, 2.0), 0), ((0.5, 3.0), 1), ((1.5, 2.5), 0)]
    assert join_turns(spans, 0.8) == (SpeakerTurn(0.0, 2.5, 0), SpeakerTurn(0.5, 3.0, 1))
