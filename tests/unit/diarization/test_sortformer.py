"""The parts of the Sortformer diarizer that need no NeMo; the rest: tests/integration/extras."""

import numpy as np

from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.sortformer import assign_rows, find_row_spans

PROBABILITIES = np.array([[0.1, 0.9, 0.2], [0.1, 0.8, 0.3], [0.7, 0.1, 0.2], [0.1, 0.9, 0.0]], np.float32)


def test_ids_follow_the_order_of_appearance() -> None:
    rows, known = assign_rows(PROBABILITIES, (), None)
    assert rows == [0, 0, 1, 0]
    assert known == (1, 0)


def test_known_speakers_keep_their_ids() -> None:
    assert assign_rows(PROBABILITIES, (0, 1), None) == ([1, 1, 0, 1], (0, 1))


def test_a_limit_allows_only_known_speakers() -> None:
    assert assign_rows(PROBABILITIES, (), 1) == ([0, 0, 0, 0], (1,))


def test_rows_count_where_there_is_speech() -> None:
    window = AnalysisWindow(np.zeros(32_000, np.float32), 10.0, 11.0, ())
    spans = list(find_row_spans([0, 1], [(10.0, 11.2), (11.4, 11.8)], window))
    assert spans == [((11.0, 11.2), 0), ((11.4, 11.5), 0), ((11.5, 11.8), 1)]


def test_without_rows_there_are_no_spans() -> None:
    window = AnalysisWindow(np.zeros(16_000, np.float32), 0.0, 0.0, ())
    assert list(find_row_spans([], [(0.0, 1.0)], window)) == []
