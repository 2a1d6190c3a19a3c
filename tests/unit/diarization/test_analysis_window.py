import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.diarization.analysis_window import build_analysis_window, split_chunk
from echoic.interfaces.diarizer import DiarizationChunk

RATE = 16_000


def build_audio(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def build_chunk(seconds: float, start: float = 0.0, *spans: tuple[float, float]) -> DiarizationChunk:
    speech = tuple((round(begin * RATE), round(end * RATE)) for begin, end in spans)
    return DiarizationChunk(build_audio(seconds), start, speech)


def test_a_first_chunk_is_all_of_the_window() -> None:
    window = build_analysis_window(build_chunk(2.0, 5.0, (0.5, 1.0)), None)
    assert (window.origin, window.new_start, window.end) == (5.0, 5.0, 7.0)
    assert window.speech_spans == ((5.5, 6.0),)
    assert window.has_new_speech


def test_a_chunk_is_joined_with_the_audio_before_it() -> None:
    first = build_analysis_window(build_chunk(2.0, 0.0, (0.0, 1.9)), None)
    window = build_analysis_window(build_chunk(1.0, 2.0), first.keep_recent(1.5))
    assert (window.origin, window.new_start, window.end) == (0.5, 2.0, 3.0)
    assert window.speech_spans == ((0.5, 1.9),)
    assert not window.has_new_speech
    np.testing.assert_allclose(window.audio[: 3 * RATE // 2], first.audio[RATE // 2 :], atol=1 / 32_768)


def test_audio_after_a_gap_is_not_joined() -> None:
    recent = build_analysis_window(build_chunk(2.0), None).keep_recent(2.0)
    assert build_analysis_window(build_chunk(1.0, 2.004), recent).origin == pytest.approx(0.004)
    assert build_analysis_window(build_chunk(1.0, 2.1), recent).origin == 2.1


def test_deferred_audio_stays_new() -> None:
    window = build_analysis_window(build_chunk(0.2, 3.0), None)
    after = build_analysis_window(build_chunk(0.2, 3.2), window.keep_recent(10.0, is_deferred=True))
    assert after.new_start == pytest.approx(3.0)


def test_cropping_keeps_the_new_audio() -> None:
    first = build_analysis_window(build_chunk(4.0), None)
    window = build_analysis_window(build_chunk(2.0, 4.0), first.keep_recent(4.0))
    assert window.crop_to_last(3.0).origin == 3.0
    assert window.crop_to_last(1.0).origin == 4.0


def test_recent_audio_is_read_only() -> None:
    recent = build_analysis_window(build_chunk(1.0), None).keep_recent(1.0)
    with pytest.raises(ValueError, match="read-only"):
        recent.audio[0] = 0


def test_a_long_chunk_is_split_into_equal_parts() -> None:
    chunk = build_chunk(5.0, 10.0, (1.0, 2.0))
    parts = list(split_chunk(chunk, 2.0))
    assert [part.start for part in parts] == pytest.approx([10.0, 10 + 5 / 3, 10 + 10 / 3], abs=1e-4)
    assert np.concatenate([part.audio for part in parts]).tolist() == chunk.audio.tolist()
    assert [len(part.speech_spans) for part in parts] == [1, 1, 0]
    assert [part.is_last for part in parts] == [False, False, chunk.is_last]


def test_an_empty_chunk_is_one_part() -> None:
    assert len(list(split_chunk(build_chunk(0.0), 2.0))) == 1
