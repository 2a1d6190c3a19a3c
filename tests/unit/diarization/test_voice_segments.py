from __future__ import annotations

import numpy as np

from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.voice_segments import (
    WindowingConfig,
    find_active_voices,
    find_runs,
    find_voice_segments,
)
from support.tones import SAMPLE_RATE, ToneSegmenter, build_tones

CONFIG = WindowingConfig()


def test_runs_with_a_short_pause_are_joined() -> None:
    active = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1], np.bool_)
    assert find_runs(active) == [(1, 3), (5, 6), (9, 10)]
    assert find_runs(active, 3) == [(1, 6), (9, 10)]
    assert find_runs(np.zeros(4, np.bool_)) == []


def test_segments_have_the_solo_frames_of_their_voice() -> None:
    active = np.zeros((300, 2), np.bool_)
    active[:200, 0], active[150:, 1] = True, True
    first, second = find_voice_segments(active, 100, CONFIG.max_pause)
    assert (first.voice, first.new_frames[0], len(first.new_frames), first.old_solo_count) == (
        0,
        100,
        100,
        100,
    )
    assert first.solo_frames.tolist() == list(range(150))
    assert (second.voice, len(second.new_frames), second.old_solo_count) == (1, 150, 0)
    assert second.solo_frames.tolist() == list(range(200, 300))


def test_speech_before_the_new_frames_is_no_segment() -> None:
    active = np.zeros((300, 1), np.bool_)
    active[:60] = True
    assert find_voice_segments(active, 200, CONFIG.max_pause) == []


def test_a_segment_too_short_for_a_window_is_widened() -> None:
    active = np.zeros((100, 1), np.bool_)
    active[95:] = True
    (segment,) = find_voice_segments(active, 50, CONFIG.max_pause)
    assert segment.solo_frames.tolist() == list(range(75, 100))
    assert [window[:2] for window in segment.split_windows(CONFIG)] == [(0, 25)]


def test_windows_cover_the_new_frames_and_reach_back() -> None:
    active = np.ones((250, 1), np.bool_)
    (segment,) = find_voice_segments(active, 100, CONFIG.max_pause)
    windows = [*segment.split_windows(CONFIG)]
    assert windows == [(20, 140, 100), (60, 180, 140), (100, 220, 180), (130, 250, 220)]


def test_unclaimed_speech_goes_to_the_nearest_voice() -> None:
    audio = build_tones([(0, 1.0), (None, 1.0), (2, 1.0)])
    window = AnalysisWindow(audio, 5.0, 5.0, ((5.0, 6.3), (6.8, 8.0)))
    active = find_active_voices(window, ToneSegmenter(), 0.0)
    assert active.shape == (300, 3)
    assert active[:130, 0].all()
    assert active[180:, 1].all()
    assert not active[130:180].any()


def test_without_a_segmenter_all_speech_is_one_voice() -> None:
    window = AnalysisWindow(np.zeros(SAMPLE_RATE, np.float32), 2.0, 2.0, ((2.2, 2.5),))
    active = find_active_voices(window, None, 0.1)
    assert find_runs(active[:, 0]) == [(10, 60)]


def test_speech_without_any_voice_goes_to_the_first_one() -> None:
    window = AnalysisWindow(np.zeros(SAMPLE_RATE, np.float32), 0.0, 0.0, ((0.2, 0.5),))
    assert find_runs(find_active_voices(window, ToneSegmenter(), 0.0)[:, 0]) == [(20, 50)]
