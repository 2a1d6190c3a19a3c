from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echoic.diarization.identity import SpeakerClusteringConfig
from echoic.diarization.online import DiarizerConfig, OnlineDiarizer
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
WITH_TURNS = OnlineDiarizer(ToneEmbedder(), ToneSegmenter())


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
    review = DIARIZER.finalize(heard.state)
    assert [turn.speaker for turn in review] == [0, 1, 0]
    assert [turn.start for turn in review] == pytest.approx([0.0, 4.5, 9.4], abs=0.3)


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
    for apart, who in ((0.5, [0, 1, 0]), (1.0, [0])):
        rules = DiarizerConfig(
            clustering=SpeakerClusteringConfig(min_evidence=0.5, separate_voice_share=apart)
        )
        assert (
            diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), ToneSegmenter(), rules), talk).speaker_order
            == who
        )
        assert diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), None, rules), talk).speaker_order == [0]


def test_the_client_limits_the_number_of_speakers() -> None:
    talk = build_tones([(0, 4.0), (2, 4.0), (4, 4.0)])
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(count=1)).speaker_order) == 0
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=2)).speaker_order) == 1
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=9)).speaker_order) == 2


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0.7, 1.1, 1.5, 2.0, 3.3, 7.0]), min_size=1, max_size=3))
@example([3.3, 1.5])
def test_speakers_do_not_depend_on_how_audio_is_cut(cuts: Sequence[float]) -> None:
    talk = build_tones([(0, 5.0), (None, 1.5), (2, 5.0), (0, 3.0), (None, 1.5), (4, 5.0)])
    heard: list[DiarizedAudio] = []
    carry, at = None, 0
    while at < talk.size:
        size = round(cuts[len(heard) % len(cuts)] * SAMPLE_RATE)
        heard.append(
            diarize_in_pieces(
                DIARIZER, talk[at : at + size], piece_seconds=99.0, start=at / SAMPLE_RATE, state=carry
            )
        )
        carry, at = heard[-1].state, at + size
    # The first moment of somebody new may be taken for another, where a piece ends within it.
    turns = [turn for one in heard for turn in one.turns if turn.end - turn.start > 0.3]
    ids = [turn.speaker for turn in turns]
    assert [one for place, one in enumerate(ids) if not place or ids[place - 1] != one] == [0, 1, 0, 2]
    assert [turn.speaker for turn in DIARIZER.finalize(carry)] == [0, 1, 0, 2]


def test_the_state_is_bounded() -> None:
    chances = np.random.default_rng(5)
    talk = [(int(chances.integers(4)), float(chances.uniform(0.3, 2.0))) for _ in range(250)]
    heard = diarize_in_pieces(DIARIZER, build_tones(talk), piece_seconds=2.0)
    memory = heard.state
    assert isinstance(memory, DiarizerState)
    assert len(memory.groups) <= MAX_GROUPS
    assert len(memory.intervals) <= MAX_INTERVALS
    assert memory.size_bytes < 400_000
    assert {0, 1, 2, 3} <= {*heard.speaker_order}


def test_arrays_of_the_state_are_read_only() -> None:
    memory = diarize_in_pieces(DIARIZER, build_tones([(0, 4.0)])).state
    assert isinstance(memory, DiarizerState)
    with pytest.raises(ValueError, match="read-only"):
        memory.groups.sums[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        memory.intervals.starts[0] = 0


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
    heard = diarize_in_pieces(WITH_TURNS, first + np.pad(second, (0, first.size - second.size)))
    for turns in (heard.turns, WITH_TURNS.finalize(heard.state)):
        spoken = {who: sum(turn.end - turn.start for turn in turns if turn.speaker == who) for who in (0, 1)}
        assert spoken[0] == pytest.approx(7.0, abs=0.4)
        assert spoken[1] == pytest.approx(4.5, abs=0.4)


def test_turns_change_with_the_voice_for_all_chunk_sizes() -> None:
    talk = build_tones([(0, 4.3), (3, 1.9), (0, 2.6)])
    for piece in (0.5, 1.5, 4.0):
        heard = diarize_in_pieces(WITH_TURNS, talk, piece_seconds=piece)
        assert [turn.start for turn in WITH_TURNS.finalize(heard.state)] == pytest.approx(
            [0.0, 4.3, 6.2], abs=0.05
        )


def test_a_chunk_without_speech_is_ignored() -> None:
    talk = build_tones([(0, 4.0)])
    carry = diarize_in_pieces(WITH_TURNS, talk).state
    (voices,) = WITH_TURNS.diarize([DiarizationChunk(talk[:SAMPLE_RATE], 4.0, (), state=carry)])
    assert voices.turns == ()
    assert len(WITH_TURNS.finalize(voices.state)) == 1


def test_short_chunks_wait_for_more_audio() -> None:
    talk = build_tones([(0, 2.0), (3, 2.0)])
    calls = CountingSegmenter()
    heard = diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), calls), talk, piece_seconds=0.05)
    assert calls.asked <= 10  # 4 s in pieces of 0.4
    assert heard.turns[0].start == pytest.approx(0.0, abs=0.05)
    assert sum(turn.end - turn.start for turn in heard.turns) == pytest.approx(4.0, abs=0.1)
    assert [turn.start for turn in WITH_TURNS.finalize(heard.state)] == pytest.approx([0.0, 2.0], abs=0.05)


def test_a_short_last_chunk_is_analyzed() -> None:
    talk = build_tones([(0, 2.2)])
    heard = diarize_in_pieces(WITH_TURNS, talk, piece_seconds=2.0)
    assert heard.turns[-1].end == pytest.approx(2.2, abs=0.02)


class CountingSegmenter(ToneSegmenter):
    asked = 0

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        self.asked += 1
        return super().find_voices(audio)
