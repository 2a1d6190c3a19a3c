from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echoic.diarization.online import DiarizerConfig, OnlineDiarizer
from echoic.diarization.speaker_ids import SpeakerClusteringConfig
from echoic.diarization.state import MAX_GROUPS, MAX_INTERVALS, DiarizerState
from echoic.interfaces.diarizer import DiarizationChunk, SpeakerOptions
from support.tones import (
    SAMPLE_RATE,
    DiarizedAudio,
    ToneEmbedder,
    ToneSegmenter,
    build_tones,
    diarize_in_pieces,
)

DIARIZER = OnlineDiarizer(ToneEmbedder())
SEGMENTING = OnlineDiarizer(ToneEmbedder(), ToneSegmenter())


def test_speakers_are_distinguished_and_recognized_again() -> None:
    heard = diarize_in_pieces(
        DIARIZER, build_tones([(0, 4.0), (None, 1.0), (2, 4.0), (None, 1.0), (0, 4.0), (4, 4.0)])
    )
    assert heard.speaker_order == [0, 1, 0, 2]


def test_a_change_within_a_chunk_is_located() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 4.5), (3, 4.9), (0, 5.6)]))
    assert heard.speaker_order == [0, 1, 0]
    again = next(turn for turn in heard.turns if turn.speaker == 0 and turn.start > 6)
    assert again.start == pytest.approx(9.4, abs=0.65)  # as far as a window's middle is from the edge
    final_turns = DIARIZER.finalize(heard.state)
    assert [turn.speaker for turn in final_turns] == [0, 1, 0]
    assert [turn.start for turn in final_turns] == pytest.approx([0.0, 4.5, 9.4], abs=0.3)


def test_only_long_pauses_end_a_turn() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 3.0), (None, 0.5), (0, 2.0), (None, 2.5), (0, 2.0)]))
    first, second = DIARIZER.finalize(heard.state)
    assert (first.start, first.end) == pytest.approx((0.0, 5.6), abs=0.1)
    assert (second.start, second.end) == pytest.approx((7.9, 10.0), abs=0.1)


def test_a_very_short_voice_is_no_new_speaker() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 6.0), (3, 0.25), (0, 6.0)]))
    assert {*heard.speaker_order} == {0}


def test_a_separated_voice_needs_less_evidence() -> None:
    talk = build_tones([(0, 6.0), (3, 1.2), (0, 3.0)])
    for share, expected in ((0.5, [0, 1, 0]), (1.0, [0])):
        config = DiarizerConfig(
            clustering=SpeakerClusteringConfig(min_evidence=0.5, separate_voice_share=share)
        )
        assert (
            diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), ToneSegmenter(), config), talk).speaker_order
            == expected
        )
        assert diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), None, config), talk).speaker_order == [0]


def test_the_client_limits_the_number_of_speakers() -> None:
    talk = build_tones([(0, 4.0), (2, 4.0), (4, 4.0)])
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(count=1)).speaker_order) == 0
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=2)).speaker_order) == 1
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=9)).speaker_order) == 2


@settings(max_examples=6, deadline=None)
@given(st.lists(st.sampled_from([0.7, 1.1, 1.5, 2.0, 3.3, 7.0]), min_size=1, max_size=3))
@example([3.3, 1.5])
def test_speakers_do_not_depend_on_how_audio_is_cut(cuts: Sequence[float]) -> None:
    talk = build_tones([(0, 5.0), (None, 1.5), (2, 5.0), (0, 3.0), (None, 1.5), (4, 5.0)])
    heard: list[DiarizedAudio] = []
    state, at = None, 0
    while at < talk.size:
        size = round(cuts[len(heard) % len(cuts)] * SAMPLE_RATE)
        heard.append(
            diarize_in_pieces(
                DIARIZER, talk[at : at + size], piece_seconds=99.0, start=at / SAMPLE_RATE, state=state
            )
        )
        state, at = heard[-1].state, at + size
    # The start of a new voice may get another speaker if a chunk ends within it.
    turns = [turn for one in heard for turn in one.turns if turn.end - turn.start > 0.3]
    ids = [turn.speaker for turn in turns]
    assert [one for place, one in enumerate(ids) if not place or ids[place - 1] != one] == [0, 1, 0, 2]
    assert [turn.speaker for turn in DIARIZER.finalize(state)] == [0, 1, 0, 2]


def test_the_state_is_bounded() -> None:
    random = np.random.default_rng(5)
    talk = [(int(random.integers(4)), float(random.uniform(0.3, 2.0))) for _ in range(70)]
    heard = diarize_in_pieces(DIARIZER, build_tones(talk), piece_seconds=2.0)
    diarizer_state = heard.state
    assert isinstance(diarizer_state, DiarizerState)
    assert len(diarizer_state.groups) <= MAX_GROUPS
    assert len(diarizer_state.intervals) <= MAX_INTERVALS
    assert diarizer_state.size_bytes < 400_000
    assert {0, 1, 2, 3} <= {*heard.speaker_order}


def test_arrays_of_the_state_are_read_only() -> None:
    diarizer_state = diarize_in_pieces(DIARIZER, build_tones([(0, 4.0)])).state
    assert isinstance(diarizer_state, DiarizerState)
    with pytest.raises(ValueError, match="read-only"):
        diarizer_state.groups.sums[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        diarizer_state.intervals.starts[0] = 0


def test_a_long_chunk_gives_the_speakers_of_its_parts() -> None:
    talk = build_tones([(0, 8.0), (2, 8.0), (0, 8.0)])
    whole, parts = (
        diarize_in_pieces(DIARIZER, talk, piece_seconds=24.0),
        diarize_in_pieces(DIARIZER, talk, piece_seconds=2.0),
    )
    assert whole.speaker_order == parts.speaker_order == [0, 1, 0]


def test_overlapping_speakers_both_have_turns() -> None:
    first = build_tones([(0, 4.0), (None, 2.5), (0, 3.0)])
    second = build_tones([(None, 5.0), (2, 4.5)])
    heard = diarize_in_pieces(SEGMENTING, first + np.pad(second, (0, first.size - second.size)))
    for turns in (heard.turns, SEGMENTING.finalize(heard.state)):
        spoken = {
            speaker: sum(turn.end - turn.start for turn in turns if turn.speaker == speaker)
            for speaker in (0, 1)
        }
        assert spoken[0] == pytest.approx(7.0, abs=0.4)
        assert spoken[1] == pytest.approx(4.5, abs=0.4)


def test_turns_change_with_the_voice_for_all_chunk_sizes() -> None:
    talk = build_tones([(0, 4.3), (3, 1.9), (0, 2.6)])
    for piece in (0.5, 1.5, 4.0):
        heard = diarize_in_pieces(SEGMENTING, talk, piece_seconds=piece)
        assert [turn.start for turn in SEGMENTING.finalize(heard.state)] == pytest.approx(
            [0.0, 4.3, 6.2], abs=0.05
        )


def test_a_chunk_without_speech_is_ignored() -> None:
    talk = build_tones([(0, 4.0)])
    state = diarize_in_pieces(SEGMENTING, talk).state
    (result,) = SEGMENTING.diarize([DiarizationChunk(talk[:SAMPLE_RATE], 4.0, (), state=state)])
    assert result.turns == ()
    assert len(SEGMENTING.finalize(result.state)) == 1


def test_short_chunks_wait_for_more_audio() -> None:
    talk = build_tones([(0, 2.0), (3, 2.0)])
    segmenter = CountingSegmenter()
    heard = diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), segmenter), talk, piece_seconds=0.05)
    assert segmenter.call_count <= 10  # 4 s in pieces of 0.4
    assert heard.turns[0].start == pytest.approx(0.0, abs=0.05)
    assert sum(turn.end - turn.start for turn in heard.turns) == pytest.approx(4.0, abs=0.1)
    assert [turn.start for turn in SEGMENTING.finalize(heard.state)] == pytest.approx([0.0, 2.0], abs=0.05)


def test_a_short_last_chunk_is_analyzed() -> None:
    talk = build_tones([(0, 2.2)])
    heard = diarize_in_pieces(SEGMENTING, talk, piece_seconds=2.0)
    assert heard.turns[-1].end == pytest.approx(2.2, abs=0.02)


class CountingSegmenter(ToneSegmenter):
    call_count = 0

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        self.call_count += 1
        return super().find_voices(audio)
