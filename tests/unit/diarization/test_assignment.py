import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.assignment import (
    EmbeddedSegment,
    assign_frame_speakers,
    find_window_voices,
    place_groups,
)
from echoic.diarization.speaker_ids import SpeakerClusteringConfig
from echoic.diarization.state import UNKNOWN, DiarizerState, EmbeddingGroups, build_empty_state
from echoic.diarization.voice_segments import VoiceSegment

CONFIG = SpeakerClusteringConfig()
ONE, TWO = (1.0, 0.0), (0.0, 1.0)


def build_groups() -> EmbeddingGroups:
    groups = build_empty_state().groups.with_windows(
        np.array([ONE, TWO], np.float32), np.array([2, 2], np.float32)
    )
    return groups.with_speakers(np.array([0, 1]))


def build_segment(
    voice: int, embedding: tuple[float, float] | None, frames: NDArray[np.intp]
) -> EmbeddedSegment:
    segment = VoiceSegment(voice, frames, frames, 0)
    if embedding is None:
        return EmbeddedSegment(segment, (), np.zeros((0, 0), np.float32))
    return EmbeddedSegment(segment, [(0, len(frames), 0)], np.array([embedding], np.float32))


def build_window(seconds: float) -> AnalysisWindow:
    return AnalysisWindow(np.zeros(round(seconds * 16_000), np.float32), 0.0, 0.0, ((0.0, seconds),))


def test_each_voice_gets_the_most_similar_speaker() -> None:
    active = np.zeros((200, 2), np.bool_)
    active[:100, 0], active[100:, 1] = True, True
    segments = [build_segment(0, TWO, np.arange(100)), build_segment(1, ONE, np.arange(100, 200))]
    speakers = assign_frame_speakers(build_groups(), segments, active, (), CONFIG)
    assert (speakers[:100, 0] == 1).all()
    assert (speakers[100:, 1] == 0).all()
    assert (speakers[100:, 0] == UNKNOWN).all()


def test_two_voices_at_once_get_different_speakers() -> None:
    active = np.ones((100, 2), np.bool_)
    segments = [build_segment(voice, ONE, np.arange(100)) for voice in (0, 1)]
    speakers = assign_frame_speakers(build_groups(), segments, active, (), CONFIG)
    assert sorted({*speakers[50].tolist()}) == [0, 1]


def test_a_voice_without_windows_keeps_its_speaker() -> None:
    active = np.ones((100, 1), np.bool_)
    segments = [build_segment(0, None, np.arange(60, 100))]
    history = [(slice(0, 60), 1)]
    speakers = assign_frame_speakers(build_groups(), segments, active, history, CONFIG)
    assert (speakers[60:, 0] == 1).all()
    unknown = assign_frame_speakers(build_groups(), segments, active, (), CONFIG)
    assert (unknown == UNKNOWN).all()


def test_windows_belong_to_the_voice_with_most_solo_frames() -> None:
    empty = build_empty_state()
    windows = empty.recent_windows.with_windows(
        0.0, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], np.array([0, 1, 0])
    )
    state = DiarizerState(build_groups(), empty.intervals, windows)
    active = np.zeros((300, 2), np.bool_)
    active[:100, 0], active[100:200, 1] = True, True
    assert find_window_voices(state, build_window(3.0), active).tolist() == [0, 1, UNKNOWN]


def test_frames_belong_to_the_group_of_the_nearest_window() -> None:
    empty = build_empty_state()
    windows = empty.recent_windows.with_windows(0.0, [(0.0, 1.0), (1.0, 2.0)], np.array([0, 1]))
    state = DiarizerState(build_groups(), empty.intervals, windows)
    active = np.ones((200, 1), np.bool_)
    intervals = place_groups(state, build_window(2.0), active, 0.7)
    assert intervals.groups.tolist() == [0, 1]
    assert intervals.ends.tolist() == [1.01, 2.0]


def test_a_segment_counts_its_new_seconds_per_window() -> None:
    frames = np.arange(120)
    segment = EmbeddedSegment(
        VoiceSegment(0, frames, frames, 0), [(0, 80, 0), (40, 120, 80)], np.array([ONE, TWO], np.float32)
    )
    assert [segment.count_new_seconds(index) for index in (0, 1)] == [0.8, 0.4]
    assert segment.get_window_span((40, 120, 80), 5.0) == (5.4, 6.2)
