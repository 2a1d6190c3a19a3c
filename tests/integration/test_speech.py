"""Real recordings through the embedded model: skipped where there are none (``ECHOIC_SPEECH``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.moonshine import Moonshine
from echoic.engines.silero import SileroModel
from echoic.evaluate.metrics import EditCounts, count_word_errors
from echoic.session.config import StreamConfig
from echoic.session.session import Session
from support.session_driver import Json, SessionDriver, filter_frames
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.benchmarks.recordings import BenchmarkRecording

SPEECH_FOLDER = find_speech_folder()

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        SPEECH_FOLDER is None, reason="no recordings: ECHOIC_SPEECH names no folder with a manifest.tsv"
    ),
]


@pytest.fixture(scope="module")
def model() -> Iterator[Moonshine]:
    engine = Moonshine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def silero() -> SileroModel:
    return SileroModel()


def _load(*prefixes: str) -> list[BenchmarkRecording]:
    assert SPEECH_FOLDER is not None
    return filter_by_name(load_recordings(SPEECH_FOLDER), *prefixes)


def _stream_finals(
    engine: Moonshine, silero: SileroModel, recording: BenchmarkRecording, size: int, **more: bool
) -> list[Json]:
    audio = recording.load_audio()
    driver = SessionDriver(engine, Session(silero.build_detector, StreamConfig(**more)))  # type: ignore[arg-type]  # switches only
    driver.push_in_messages(audio, [size] * (len(audio) // size + 1))
    driver.send({"type": "commit"})
    return filter_frames(driver.frames, "final")


def test_message_sizes_change_no_final(model: Moonshine, silero: SileroModel) -> None:
    (recording,) = _load("librispeech_test_other__1688-142285-0001")
    whole = _stream_finals(model, silero, recording, 10**9, enable_partial=False)
    assert len(whole) > 4
    for size in (320, 8_000):
        assert _stream_finals(model, silero, recording, size, enable_partial=False) == whole


def test_partials_change_no_final(model: Moonshine, silero: SileroModel) -> None:
    (recording,) = _load("librispeech_test_other__1998-15444-0003")
    without = _stream_finals(model, silero, recording, 1_600, enable_partial=False)
    assert _stream_finals(model, silero, recording, 1_600, enable_partial=True) == without


def test_streaming_costs_few_words(model: Moonshine, silero: SileroModel) -> None:
    """Clips decoded whole and streamed: measured 4 points apart; a naive join of the texts is 70 apart."""
    offline = streamed = EditCounts()
    for recording in _load("librispeech_test_other__2033", "ljspeech__LJ001-000"):
        finals = _stream_finals(model, silero, recording, 1_600, enable_partial=False)
        streamed += count_word_errors(recording.reference, " ".join(str(final["text"]) for final in finals))
        offline += count_word_errors(recording.reference, _transcribe_whole(model, recording))
    assert offline.reference_length > 200
    assert offline.rate < 25
    assert streamed.rate - offline.rate < 8


def _transcribe_whole(model: Moonshine, recording: BenchmarkRecording) -> str:
    driver = SessionDriver(model, Session(None, StreamConfig(chunk_duration=60.0, enable_partial=False)))
    driver.push_audio(np.concatenate([recording.load_audio(), np.zeros(8_000, np.float32)]))
    driver.send({"type": "commit"})
    return " ".join(str(final["text"]) for final in filter_frames(driver.frames, "final"))
