"""The contract of diarizers, run against each implementation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.diarization.models import LIGHT_DIARIZER, load_diarizer
from echoic.diarization.online import OnlineDiarizer
from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import draw_words
from echoic.interfaces.diarizer import DiarizationChunk, Diarizer, SpeakerOptions, SpeakerTurn
from support.tiny_parakeet import read_recordings
from support.tones import (
    SAMPLE_RATE,
    ToneEmbedder,
    ToneSegmenter,
    build_tones,
    diarize_in_pieces,
    find_speech,
)


@dataclass(frozen=True)
class Case:
    """A diarizer, and two recordings of several voices."""

    name: str
    build: Callable[[], Diarizer]
    talks: Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]]


def build_toned() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return build_tones([(0, 3.0), (None, 1.0), (2, 4.0), (0, 2.0)]), build_tones(
        [(3, 2.0), (1, 3.0), (4, 2.5)]
    )


def build_drawn() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    first = draw_words(["one", "two", ("", 0.5), "golf", "hotel", "india", "one", "whiskey", "red"])
    return first, draw_words(["golf", "hotel", ("", 1.0), "one", "two", "three"])


def load_recorded() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    clips = [audio for audio, _ in read_recordings()]
    return np.concatenate(clips[:4])[: 8 * SAMPLE_RATE], np.concatenate(clips[4:8])[: 6 * SAMPLE_RATE]


CASES = (
    Case("scripted", ScriptedDiarizer, build_drawn),
    Case("online", lambda: OnlineDiarizer(ToneEmbedder()), build_toned),
    Case("online with turns", lambda: OnlineDiarizer(ToneEmbedder(), ToneSegmenter()), build_toned),
    Case("embedded", load_diarizer, load_recorded),
    Case("embedded-light", lambda: load_diarizer(LIGHT_DIARIZER), load_recorded),
)


@pytest.fixture(params=CASES, ids=[case.name for case in CASES], scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def diarizer(case: Case) -> Diarizer:
    return case.build()


def are_in_order(turns: Sequence[SpeakerTurn]) -> bool:
    speakers = {turn.speaker for turn in turns}
    each = [[turn for turn in turns if turn.speaker == speaker] for speaker in speakers]
    apart = all(one.end <= next_.start + 1e-6 for mine in each for one, next_ in pairwise(mine))
    started = all(one.start <= next_.start for one, next_ in pairwise(turns))
    return apart and started and all(turn.start < turn.end for turn in turns)


def build_chunk(audio: NDArray[np.float32], start: float = 0.0, state: object = None) -> DiarizationChunk:
    return DiarizationChunk(audio, start, find_speech(audio), state=state)


def test_turns_lie_within_their_chunk(case: Case, diarizer: Diarizer) -> None:
    chunks = [build_chunk(talk[: 2 * SAMPLE_RATE], 7.5) for talk in case.talks()]
    results = diarizer.diarize(chunks)
    assert len(results) == len(chunks)
    for result in results:
        assert result.turns
        assert are_in_order(result.turns)
        assert result.turns[0].start >= 7.5
        assert result.turns[-1].end <= 9.5 + 1e-6


def test_results_do_not_depend_on_the_batch(case: Case, diarizer: Diarizer) -> None:
    first, second = (build_chunk(talk[: 2 * SAMPLE_RATE]) for talk in case.talks())
    together = diarizer.diarize([first, second])
    apart = [diarizer.diarize([one])[0] for one in (first, second)]
    assert [result.turns for result in together] == [result.turns for result in apart]


def test_a_state_can_be_used_twice(case: Case, diarizer: Diarizer) -> None:
    talk, _ = case.talks()
    (result,) = diarizer.diarize([build_chunk(talk[: 2 * SAMPLE_RATE])])
    chunk = build_chunk(talk[2 * SAMPLE_RATE : 4 * SAMPLE_RATE], 2.0, result.state)
    before = diarizer.finalize(result.state)
    first, second = diarizer.diarize([chunk])[0], diarizer.diarize([chunk])[0]
    assert first.turns == second.turns
    assert diarizer.finalize(result.state) == before


def test_speaker_ids_count_from_0_without_gaps(case: Case, diarizer: Diarizer) -> None:
    talk, _ = case.talks()
    heard = diarize_in_pieces(diarizer, talk)
    assert heard.speaker_order[0] == 0
    for place, speaker in enumerate(heard.speaker_order):
        assert speaker <= len({*heard.speaker_order[:place]})


@pytest.mark.parametrize(
    "options", [SpeakerOptions(count=2), SpeakerOptions(max_count=2), SpeakerOptions(count=1)]
)
def test_there_are_at_most_as_many_speakers_as_allowed(
    case: Case, diarizer: Diarizer, options: SpeakerOptions
) -> None:
    for talk in case.talks():
        heard = diarize_in_pieces(diarizer, talk, options=options)
        assert max(heard.speaker_order) < (options.count or options.max_count or 99)
        assert max(turn.speaker for turn in diarizer.finalize(heard.state)) < (
            options.count or options.max_count or 99
        )


def test_finalize_returns_all_turns_in_order(case: Case, diarizer: Diarizer) -> None:
    talk, _ = case.talks()
    heard = diarize_in_pieces(diarizer, talk, start=100.0)
    final_turns = diarizer.finalize(heard.state)
    assert are_in_order(final_turns)
    assert final_turns[0].start == pytest.approx(heard.turns[0].start, abs=0.3)
    assert final_turns[-1].end == pytest.approx(heard.turns[-1].end, abs=0.3)


def test_a_session_without_speech_has_no_speakers(diarizer: Diarizer) -> None:
    (result,) = diarizer.diarize([DiarizationChunk(np.zeros(SAMPLE_RATE, np.float32), 0.0, ())])
    assert result.turns == ()
    assert diarizer.finalize(result.state) == ()
    assert diarizer.finalize(None) == ()


def test_chunks_may_be_empty_or_tiny(case: Case, diarizer: Diarizer) -> None:
    talk, _ = case.talks()
    empty = DiarizationChunk(talk[:0], 0.0, ())
    tiny = DiarizationChunk(talk[:100], 0.0, ((0, 100),))
    for result in diarizer.diarize([empty, tiny, replace(tiny, is_last=True)]):
        assert are_in_order(result.turns)


def test_a_gap_in_the_audio_is_accepted(case: Case, diarizer: Diarizer) -> None:
    talk, other = case.talks()
    heard = diarize_in_pieces(diarizer, talk)
    later = diarize_in_pieces(diarizer, other, start=1_000.0, state=heard.state)
    assert are_in_order(later.turns)
    assert are_in_order(diarizer.finalize(later.state))
    assert later.turns[0].start >= 1_000.0
