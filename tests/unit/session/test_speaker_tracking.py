"""Tests of speaker tracking: labels, corrections, failures and pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import LOCAL_AGREEMENT, VOCABULARY, PlateauDetector, ScriptedEngine, draw_words
from echoic.interfaces.engine import EngineRequirements
from echoic.session.config import Capabilities
from echoic.session.session import Session
from support.session_driver import SessionDriver, filter_frames, frame_texts
from support.strategies import spoken_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from echoic.interfaces.engine import Engine
    from support.session_driver import Json
    from support.strategies import SpokenWords

TIMED = EngineRequirements("stateful", left_context=0.5, has_word_times=True)
ANN, BOB, CYD = VOCABULARY[0], VOCABULARY[10], VOCABULARY[20]


def build_driver(
    engine: Engine | None = None,
    diarizer: ScriptedDiarizer | None = None,
    *,
    shuffle: int | None = None,
    **config: object,
) -> SessionDriver:
    session = Session(
        PlateauDetector, capabilities=Capabilities(diarization=None, storage=None), recording="a.wav"
    )
    driver = SessionDriver(
        engine or ScriptedEngine(TIMED),
        session,
        diarizer=diarizer or ScriptedDiarizer(),
        shuffle_seed=shuffle,
    )
    driver.send({"type": "config", "diarization": True, "enable_partial": False, **config})
    return driver


def build_speech(*words: str, pause: float = 1.0) -> NDArray[np.float32]:
    return draw_words([part for word in words for part in ((word, 0.4), ("", pause))])


def list_labels(frames: list[Json]) -> list[object]:
    return [frame.get("speaker_label") for frame in filter_frames(frames, "final")]


def test_each_word_of_a_final_has_a_speaker() -> None:
    driver = build_driver(word_timestamps=True)
    driver.push_audio(draw_words([(ANN, 0.5), (BOB, 0.3), ("", 1.2)]))
    (final,) = filter_frames(driver.send({"type": "commit"}), "final") or filter_frames(
        driver.frames, "final"
    )
    assert [(word["word"], word["speaker_id"]) for word in final["words"]] == [(ANN, 0), (BOB, 1)]  # type: ignore[attr-defined]
    assert final["speaker_id"] == 0, "the main speaker"


@pytest.mark.parametrize("engine", [ScriptedEngine, lambda: ScriptedEngine(EngineRequirements("overlap"))])
def test_without_word_times_a_final_has_its_main_speaker(
    engine: Callable[[], Engine],
) -> None:
    driver = build_driver(engine(), word_timestamps=True)
    driver.push_audio(build_speech(ANN, BOB, pause=2.0))
    driver.send({"type": "commit"})
    finals = filter_frames(driver.frames, "final")
    assert [(f["text"], f["speaker_id"]) for f in finals] == [(ANN, 0), (BOB, 1)]


def test_a_summary_corrects_earlier_labels() -> None:
    driver = build_driver(diarizer=ScriptedDiarizer(new_speaker_delay=0.5))
    driver.push_audio(build_speech(ANN, BOB, BOB, pause=1.1))
    frames = driver.send({"type": "commit"})
    assert list_labels(driver.frames) == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]
    assert [frame["type"] for frame in frames[-2:]] == ["full_transcript", "diarization_summary"]
    assert frames[-1] == {
        "type": "diarization_summary",
        "speaker_map": [
            {"segment_id": 1, "speaker_id": 0, "speaker_label": "SPEAKER_00"},
            {"segment_id": 2, "speaker_id": 1, "speaker_label": "SPEAKER_01"},
            {"segment_id": 3, "speaker_id": 1, "speaker_label": "SPEAKER_01"},
        ],
        "audio_path": None,
        "speakers": [
            {"speaker_id": 0, "label": "SPEAKER_00"},
            {"speaker_id": 1, "label": "SPEAKER_01"},
        ],
    }


def test_a_summary_contains_only_new_finals() -> None:
    driver = build_driver()
    driver.push_audio(build_speech(ANN))
    driver.send({"type": "commit"})
    driver.push_audio(build_speech(BOB))
    (summary,) = filter_frames(driver.send({"type": "commit"}), "diarization_summary")
    assert summary["speaker_map"] == [{"segment_id": 2, "speaker_id": 1, "speaker_label": "SPEAKER_01"}]
    assert not filter_frames(driver.send({"type": "commit"}), "diarization_summary"), "no new final"


@pytest.mark.parametrize(
    "options", [{"num_speakers": 0}, {"max_speakers": 65}, {"num_speakers": 1.5}, {"store_audio": 1}]
)
def test_invalid_speaker_options_are_refused(options: dict[str, object]) -> None:
    driver = build_driver(diarization=options)
    assert [frame["code"] for frame in driver.frames] == ["invalid_config"]
    ((name, _),) = options.items()
    assert driver.frames[0]["field"] == f"diarization.{name}"


def test_occasional_failures_only_leave_finals_unlabeled() -> None:
    fails = iter([True, False, True, False])
    driver = build_driver(diarizer=ScriptedDiarizer(hooks={0: lambda: next(fails) and 1 / 0}))
    driver.push_audio(build_speech(ANN, ANN, ANN, ANN, pause=1.1))
    driver.send({"type": "commit"})
    assert frame_texts(driver.frames) == [ANN] * 4
    assert not filter_frames(driver.frames, "warning")


def test_repeated_failures_pause_diarization_with_one_warning() -> None:
    asked: list[int] = []

    def fail() -> None:
        asked.append(1)
        raise ValueError

    driver = build_driver(diarizer=ScriptedDiarizer(hooks={0: fail}))
    driver.push_audio(build_speech(*[ANN] * 8, pause=1.1))
    driver.send({"type": "commit"})
    assert frame_texts(driver.frames) == [ANN] * 8
    assert list_labels(driver.frames) == [None] * 8
    assert [frame["code"] for frame in filter_frames(driver.frames, "warning")] == ["diarization_unavailable"]
    assert len(asked) == 3
    assert not filter_frames(driver.frames, "diarization_summary")


def test_diarization_resumes_after_half_a_minute_of_audio() -> None:
    calls = iter(range(100))
    driver = build_driver(diarizer=ScriptedDiarizer(hooks={0: lambda: next(calls) < 3 and 1 / 0}))
    driver.push_audio(build_speech(*[ANN] * 30, pause=1.1))
    driver.send({"type": "commit"})
    said = list_labels(driver.frames)
    assert said[:20] == [None] * 20
    assert said[-5:] == ["SPEAKER_00"] * 5
    assert len(filter_frames(driver.frames, "warning")) == 1


def test_speakers_keep_their_ids_when_switched_off_and_on() -> None:
    driver = build_driver()
    driver.push_audio(build_speech(ANN, BOB, pause=1.1))
    driver.send({"type": "config", "diarization": False})
    driver.push_audio(build_speech(ANN, pause=1.1))
    driver.send({"type": "config", "diarization": True})
    driver.push_audio(build_speech(BOB, ANN, pause=1.1))
    (summary,) = filter_frames(driver.send({"type": "commit"}), "diarization_summary")
    assert [frame.get("speaker_id") for frame in filter_frames(driver.frames, "final")] == [0, 1, None, 1, 0]
    mapped = summary["speaker_map"]
    assert isinstance(mapped, list)
    assert [one["segment_id"] for one in mapped] == [1, 2, 4, 5]


def test_diarized_and_recorded_audio_is_contiguous() -> None:
    received: list[NDArray[np.float32]] = []
    starts: list[float] = []

    class RecordingDiarizer(ScriptedDiarizer):
        def diarize(self, chunks):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            received.extend(sound.audio for sound in chunks)
            starts.extend(sound.start for sound in chunks)
            return super().diarize(chunks)

    driver = build_driver(diarizer=RecordingDiarizer(), diarization={"store_audio": True})
    audio = build_speech(ANN, BOB, CYD)
    for piece in np.array_split(audio, 7):
        driver.push_audio(piece)
    (summary,) = filter_frames(driver.send({"type": "commit"}), "diarization_summary")
    for sound in (np.concatenate(received), np.concatenate(driver.recorded_audio)):
        assert np.array_equal(sound, audio[: len(sound)])
        assert len(audio) - len(sound) < 100
    ends = np.cumsum([0, *map(len, received)])[:-1] / 16_000
    assert starts == pytest.approx(list(ends))
    assert summary["audio_path"] == "a.wav"
    driver.send({"type": "reset"})
    assert driver.recorded_audio == []


def test_audio_is_resampled_for_the_diarizer() -> None:
    driver = build_driver(ScriptedEngine(EngineRequirements("overlap", sample_rate=None)), sample_rate=8_000)
    driver.push_audio(draw_words([(ANN, 0.5), ("", 2.0), (BOB, 0.5), ("", 2.0)], rate=8_000))
    driver.send({"type": "commit"})
    assert len(set(list_labels(driver.frames))) == 2


@given(st.data(), spoken_words(), st.integers(0, 5))
def test_diarization_changes_no_words(data: st.DataObject, speech: SpokenWords, seed: int) -> None:
    """With diarization that works, fails or is slow, frames differ only by their labels."""
    failing = data.draw(st.booleans())
    plain = SessionDriver(ScriptedEngine(TIMED), Session(PlateauDetector))
    plain.send({"type": "config", "enable_partial": False})
    hooks = {0: lambda: 1 / 0} if failing else {}
    other = build_driver(diarizer=ScriptedDiarizer(hooks=hooks), shuffle=seed)
    for driver in (plain, other):
        driver.frames.clear()
        driver.push_audio(speech.samples)
        driver.send({"type": "commit"})
    left = [
        {key: value for key, value in frame.items() if not key.startswith("speaker")}
        for frame in other.frames
        if frame["type"] in ("final", "full_transcript")
    ]
    assert left == plain.frames


def test_words_without_times_are_labeled_by_estimated_times() -> None:
    """Words of an utterance are emitted at its end; another speaker may have started by then."""
    driver = build_driver(ScriptedEngine(LOCAL_AGREEMENT))
    driver.push_audio(draw_words([(ANN, 1.0), ("", 1.0), (BOB, 2.0), ("", 1.0)]))
    driver.send({"type": "commit"})
    assert [(f["text"], f["speaker_id"]) for f in filter_frames(driver.frames, "final")] == [
        (ANN, 0),
        (BOB, 1),
    ]
