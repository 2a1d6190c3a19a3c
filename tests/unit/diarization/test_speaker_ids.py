import numpy as np
import pytest

from echoic.diarization.speaker_ids import SpeakerClusteringConfig, assign_speakers, resolve_final_speakers
from echoic.diarization.state import UNKNOWN, DiarizerState, build_empty_state
from echoic.interfaces.diarizer import SpeakerOptions

CONFIG = SpeakerClusteringConfig()
#: Two orthogonal voices.
ONE, TWO = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
NO_VOICES = np.zeros(0, np.intp)


def build_state(*groups: tuple[tuple[float, float, float], float]) -> DiarizerState:
    empty = build_empty_state()
    embeddings = np.array([embedding for embedding, _ in groups], np.float32)
    seconds = np.array([seconds for _, seconds in groups], np.float32)
    return DiarizerState(
        empty.groups.with_windows(embeddings, seconds), empty.intervals, empty.recent_windows
    )


def add_groups(state: DiarizerState, *groups: tuple[tuple[float, float, float], float]) -> DiarizerState:
    embeddings = np.array([embedding for embedding, _ in groups], np.float32)
    seconds = np.array([seconds for _, seconds in groups], np.float32)
    return DiarizerState(
        state.groups.with_windows(embeddings, seconds),
        state.intervals,
        state.recent_windows,
        speaker_count=state.speaker_count,
        options=state.options,
    )


def test_different_voices_get_different_ids() -> None:
    state = assign_speakers(build_state((ONE, 3.0), (TWO, 2.0), (ONE, 1.0)), CONFIG, NO_VOICES)
    assert state.groups.speakers.tolist() == [0, 1, 0]
    assert state.speaker_count == 2


def test_ids_stay_when_another_voice_becomes_longer() -> None:
    state = assign_speakers(build_state((ONE, 2.0)), CONFIG, NO_VOICES)
    state = assign_speakers(add_groups(state, (TWO, 5.0)), CONFIG, NO_VOICES)
    assert state.groups.speakers.tolist() == [0, 1]


def test_too_little_evidence_makes_no_new_speaker() -> None:
    state = assign_speakers(build_state((ONE, 2.0)), CONFIG, NO_VOICES)
    state = assign_speakers(add_groups(state, (TWO, 0.1)), CONFIG, NO_VOICES)
    assert state.groups.speakers.tolist() == [0, UNKNOWN]
    assert resolve_final_speakers(state, CONFIG).tolist() == [0, 0]


def test_a_long_session_needs_more_evidence() -> None:
    needed = []
    for seconds in (2.0, 500.0):
        state = assign_speakers(build_state((ONE, seconds)), CONFIG, NO_VOICES)
        grown = assign_speakers(add_groups(state, (TWO, 1.0)), CONFIG, NO_VOICES)
        needed.append(grown.groups.speakers.tolist())
    assert needed == [[0, 1], [0, UNKNOWN]]


@pytest.mark.parametrize("options", [SpeakerOptions(count=1), SpeakerOptions(max_count=1)])
def test_the_client_limits_the_number_of_speakers(options: SpeakerOptions) -> None:
    state = build_state((ONE, 3.0), (TWO, 3.0))
    limited = DiarizerState(state.groups, state.intervals, state.recent_windows, options=options)
    assert set(assign_speakers(limited, CONFIG, NO_VOICES).groups.speakers.tolist()) == {0}
