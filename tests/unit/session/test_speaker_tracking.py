"""Sessions that say who speaks."""

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
from echoic.session.decoding.strategy import TimedWord, spread_words
from echoic.session.session import Session
from support.play import SessionDriver, filter_frames, frame_texts
from support.strategies import spoken_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from echoic.interfaces.engine import Engine
    from support.play import Json
    from support.strategies import SpokenWords

TIMED = EngineRequirements("stateful", left_context=0.5, has_word_times=True)
ANN, BOB, CYD = VOCABULARY[0], VOCABULARY[10], VOCABULARY[20]


def playing(
    engine: Engine | None = None,
    diarizer: ScriptedDiarizer | None = None,
    *,
    shuffle: int | None = None,
    **config: object,
) -> SessionDriver:
    session = Session(
        PlateauDetector, capabilities=Capabilities(diarization=None, storage=None), recording="a.wav"
    )
    play = SessionDriver(
        engine or ScriptedEngine(TIMED),
        session,
        diarizer=diarizer or ScriptedDiarizer(),
        shuffle_seed=shuffle,
    )
    play.send({"type": "config", "diarization": True, "enable_partial": False, **config})
    return play


def talk(*words: str, pause: float = 1.0) -> NDArray[np.float32]:
    return draw_words([part for word in words for part in ((word, 0.4), ("", pause))])


def speakers(frames: list[Json]) -> list[object]:
    return [frame.get("speaker_label") for frame in filter_frames(frames, "final")]


def test_finals_say_who_speaks_as_they_go_out() -> None:
    play = playing()
    play.push_audio(talk(ANN, BOB, ANN, CYD, pause=1.1))
    play.send({"type": "commit"})
    assert frame_texts(play.frames) == [ANN, BOB, ANN, CYD]
    assert speakers(play.frames) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00", "SPEAKER_02"]
    assert [frame["speaker_id"] for frame in filter_frames(play.frames, "final")] == [0, 1, 0, 2]


def test_within_a_final_each_word_has_its_speaker() -> None:
    play = playing(word_timestamps=True)
    play.push_audio(draw_words([(ANN, 0.5), (BOB, 0.3), ("", 1.2)]))
    (final,) = filter_frames(play.send({"type": "commit"}), "final") or filter_frames(play.frames, "final")
    assert [(word["word"], word["speaker_id"]) for word in final["words"]] == [(ANN, 0), (BOB, 1)]  # type: ignore[attr-defined]
    assert final["speaker_id"] == 0, "the one who says most"


@pytest.mark.parametrize("engine", [ScriptedEngine, lambda: ScriptedEngine(EngineRequirements("overlap"))])
def test_without_times_of_words_the_final_has_the_one_who_speaks_longest(
    engine: Callable[[], Engine],
) -> None:
    play = playing(engine(), word_timestamps=True)
    play.push_audio(talk(ANN, BOB, pause=2.0))
    play.send({"type": "commit"})
    finals = filter_frames(play.frames, "final")
    assert [(f["text"], f["speaker_id"]) for f in finals] == [(ANN, 0), (BOB, 1)]


def test_a_commit_sums_up_who_spoke_in_the_seeds_shape_and_may_correct() -> None:
    play = playing(diarizer=ScriptedDiarizer(new_speaker_delay=0.5))
    play.push_audio(talk(ANN, BOB, BOB, pause=1.1))
    frames = play.send({"type": "commit"})
    assert speakers(play.frames) == ["SPEAKER_00", "SPEAKER_00", "SPEAKER_01"]
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


def test_speakers_go_on_across_commits_and_each_summary_tells_what_is_new() -> None:
    play = playing()
    play.push_audio(talk(ANN))
    play.send({"type": "commit"})
    play.push_audio(talk(BOB))
    (summary,) = filter_frames(play.send({"type": "commit"}), "diarization_summary")
    assert summary["speaker_map"] == [{"segment_id": 2, "speaker_id": 1, "speaker_label": "SPEAKER_01"}]
    assert not filter_frames(play.send({"type": "commit"}), "diarization_summary"), "nobody spoke"


def test_a_stop_brings_the_summary_too() -> None:
    play = playing()
    play.push_audio(talk(ANN))
    frames = play.send({"type": "stop"})
    assert [frame["type"] for frame in frames] == ["final", "full_transcript", "diarization_summary"]
    assert play.close_code == 1000


def test_a_reset_forgets_the_speakers() -> None:
    play = playing()
    play.push_audio(talk(ANN, BOB))
    play.send({"type": "reset"})
    play.frames.clear()
    play.push_audio(talk(BOB))
    play.send({"type": "commit"})
    assert speakers(play.frames) == ["SPEAKER_00"]


@pytest.mark.parametrize(
    ("wishes", "said"), [({"num_speakers": 1}, {0}), ({"max_speakers": 2}, {0, 1}), ({}, {0, 1, 2})]
)
def test_what_the_client_knows_of_the_speakers_is_heeded(wishes: dict[str, object], said: set[int]) -> None:
    play = playing(diarization=wishes)
    play.push_audio(talk(ANN, BOB, CYD))
    play.send({"type": "commit"})
    assert {frame["speaker_id"] for frame in filter_frames(play.frames, "final")} == said


@pytest.mark.parametrize(
    "wishes", [{"num_speakers": 0}, {"max_speakers": 65}, {"num_speakers": 1.5}, {"store_audio": 1}]
)
def test_what_cannot_be_of_the_speakers_is_refused(wishes: dict[str, object]) -> None:
    play = playing(diarization=wishes)
    assert [frame["code"] for frame in play.frames] == ["invalid_config"]
    ((name, _),) = wishes.items()
    assert play.frames[0]["field"] == f"diarization.{name}"


def test_a_diarizer_that_fails_now_and_then_leaves_those_finals_alone() -> None:
    fails = iter([True, False, True, False])
    play = playing(diarizer=ScriptedDiarizer(hooks={0: lambda: next(fails) and 1 / 0}))
    play.push_audio(talk(ANN, ANN, ANN, ANN, pause=1.1))
    play.send({"type": "commit"})
    assert frame_texts(play.frames) == [ANN] * 4
    assert not filter_frames(play.frames, "warning")


def test_one_that_goes_on_failing_is_not_asked_again_and_the_client_is_warned_once() -> None:
    asked: list[int] = []

    def fail() -> None:
        asked.append(1)
        raise ValueError

    play = playing(diarizer=ScriptedDiarizer(hooks={0: fail}))
    play.push_audio(talk(*[ANN] * 8, pause=1.1))
    play.send({"type": "commit"})
    assert frame_texts(play.frames) == [ANN] * 8
    assert speakers(play.frames) == [None] * 8
    assert [frame["code"] for frame in filter_frames(play.frames, "warning")] == ["diarization_unavailable"]
    assert len(asked) == 3
    assert not filter_frames(play.frames, "diarization_summary")


def test_one_that_failed_too_often_is_asked_again_after_half_a_minute_of_audio() -> None:
    calls = iter(range(100))
    play = playing(diarizer=ScriptedDiarizer(hooks={0: lambda: next(calls) < 3 and 1 / 0}))
    play.push_audio(talk(*[ANN] * 30, pause=1.1))
    play.send({"type": "commit"})
    said = speakers(play.frames)
    assert said[:20] == [None] * 20
    assert said[-5:] == ["SPEAKER_00"] * 5
    assert len(filter_frames(play.frames, "warning")) == 1


def test_switched_off_and_on_again_speakers_are_the_same_and_the_summary_has_them() -> None:
    play = playing()
    play.push_audio(talk(ANN, BOB, pause=1.1))
    play.send({"type": "config", "diarization": False})
    play.push_audio(talk(ANN, pause=1.1))
    play.send({"type": "config", "diarization": True})
    play.push_audio(talk(BOB, ANN, pause=1.1))
    (summary,) = filter_frames(play.send({"type": "commit"}), "diarization_summary")
    assert [frame.get("speaker_id") for frame in filter_frames(play.frames, "final")] == [0, 1, None, 1, 0]
    mapped = summary["speaker_map"]
    assert isinstance(mapped, list)
    assert [one["segment_id"] for one in mapped] == [1, 2, 4, 5]


def test_where_nobody_can_tell_the_client_is_warned_and_the_status_says_so() -> None:
    play = SessionDriver(ScriptedEngine(), Session(PlateauDetector))
    frames = play.send({"type": "config", "diarization": {"store_audio": True}})
    codes = [frame["code"] for frame in filter_frames(frames, "warning")]
    assert codes == ["diarization_unavailable", "audio_persistence_unavailable"]
    assert frames[-1]["diarization"] is False


def test_the_sound_that_is_listened_to_and_stored_is_the_audio_without_gap_or_doubling() -> None:
    heard: list[NDArray[np.float32]] = []
    starts: list[float] = []

    class Noting(ScriptedDiarizer):
        def diarize(self, chunks):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            heard.extend(sound.audio for sound in chunks)
            starts.extend(sound.start for sound in chunks)
            return super().diarize(chunks)

    play = playing(diarizer=Noting(), diarization={"store_audio": True})
    audio = talk(ANN, BOB, CYD)
    for piece in np.array_split(audio, 7):
        play.push_audio(piece)
    (summary,) = filter_frames(play.send({"type": "commit"}), "diarization_summary")
    for sound in (np.concatenate(heard), np.concatenate(play.recorded_audio)):
        assert np.array_equal(sound, audio[: len(sound)])
        assert len(audio) - len(sound) < 100
    ends = np.cumsum([0, *map(len, heard)])[:-1] / 16_000
    assert starts == pytest.approx(list(ends))
    assert summary["audio_path"] == "a.wav"
    play.send({"type": "reset"})
    assert play.recorded_audio == []


def test_a_client_rate_that_the_engine_takes_as_it_is_is_listened_to_all_the_same() -> None:
    play = playing(ScriptedEngine(EngineRequirements("overlap", sample_rate=None)), sample_rate=8_000)
    play.push_audio(draw_words([(ANN, 0.5), ("", 2.0), (BOB, 0.5), ("", 2.0)], rate=8_000))
    play.send({"type": "commit"})
    assert len(set(speakers(play.frames))) == 2


@given(st.data(), spoken_words(), st.integers(0, 5))
def test_who_speaks_changes_nothing_of_what_is_said(
    data: st.DataObject, speech: SpokenWords, seed: int
) -> None:
    """Whether it works, fails or is slow: the frames without their labels are those without it."""
    failing = data.draw(st.booleans())
    plain = SessionDriver(ScriptedEngine(TIMED), Session(PlateauDetector))
    plain.send({"type": "config", "enable_partial": False})
    hooks = {0: lambda: 1 / 0} if failing else {}
    other = playing(diarizer=ScriptedDiarizer(hooks=hooks), shuffle=seed)
    for play in (plain, other):
        play.frames.clear()
        play.push_audio(speech.samples)
        play.send({"type": "commit"})
    left = [
        {key: value for key, value in frame.items() if not key.startswith("speaker")}
        for frame in other.frames
        if frame["type"] in ("final", "full_transcript")
    ]
    assert left == plain.frames


def test_words_without_times_are_told_apart_by_their_place_in_the_text() -> None:
    """An utterance is said when it is over; by then another may speak."""
    play = playing(ScriptedEngine(LOCAL_AGREEMENT))
    play.push_audio(draw_words([(ANN, 1.0), ("", 1.0), (BOB, 2.0), ("", 1.0)]))
    play.send({"type": "commit"})
    assert [(f["text"], f["speaker_id"]) for f in filter_frames(play.frames, "final")] == [(ANN, 0), (BOB, 1)]


def test_words_are_placed_by_their_letters() -> None:
    placed = spread_words([TimedWord("a"), TimedWord("bcd"), TimedWord("e", 7.0, 8.0)], 10.0, 18.0)
    assert [word.rough_span for word in placed] == [(10.0, 12.0), (12.0, 16.0), (16.0, 18.0)]
    assert [word.middle for word in placed] == [11.0, 14.0, 7.5]
    assert spread_words([], 0.0, 1.0) == []
