from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DIARIZER = OnlineDiarizer(ToneEmbedder())
WITH_TURNS = OnlineDiarizer(ToneEmbedder(), ToneSegmenter())


def test_speakers_are_told_apart_and_known_again() -> None:
    heard = diarize_in_pieces(
        DIARIZER, build_tones([(0, 4.0), (None, 1.0), (2, 4.0), (None, 1.0), (0, 4.0), (4, 4.0)])
    )
    assert heard.speaker_order == [0, 1, 0, 2]


def test_a_change_inside_of_a_piece_is_heard_where_it_is() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 4.5), (3, 4.9), (0, 5.6)]))
    assert heard.speaker_order == [0, 1, 0]
    again = next(turn for turn in heard.turns if turn.speaker == 0 and turn.start > 6)
    assert again.start == pytest.approx(9.4, abs=0.65)  # as far as a window's middle is from the edge
    review = DIARIZER.finalize(heard.state)
    assert [turn.speaker for turn in review] == [0, 1, 0]
    assert [turn.start for turn in review] == pytest.approx([0.0, 4.5, 9.4], abs=0.3)


def test_short_pauses_belong_to_the_speaker_and_long_ones_to_nobody() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 3.0), (None, 0.5), (0, 2.0), (None, 2.5), (0, 2.0)]))
    first, second = DIARIZER.finalize(heard.state)
    assert (first.start, first.end) == pytest.approx((0.0, 5.6), abs=0.1)
    assert (second.start, second.end) == pytest.approx((7.9, 10.0), abs=0.1)


def test_a_moment_of_another_voice_makes_no_new_speaker() -> None:
    heard = diarize_in_pieces(DIARIZER, build_tones([(0, 6.0), (3, 0.25), (0, 6.0)]))
    assert {*heard.speaker_order} == {0}


def test_somebody_whom_the_model_of_turns_hears_too_is_known_with_less_of_him() -> None:
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


def test_what_one_would_be_two_for_is_one_where_the_client_says_so() -> None:
    talk = build_tones([(0, 4.0), (2, 4.0), (4, 4.0)])
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(count=1)).speaker_order) == 0
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=2)).speaker_order) == 1
    assert max(diarize_in_pieces(DIARIZER, talk, options=SpeakerOptions(max_count=9)).speaker_order) == 2


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0.7, 1.1, 1.5, 2.0, 3.3, 7.0]), min_size=1, max_size=3))
@example([3.3, 1.5])
def test_however_the_sound_is_cut_the_same_speakers_are_heard(cuts: Sequence[float]) -> None:
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


def test_what_is_remembered_is_bounded() -> None:
    chances = np.random.default_rng(5)
    talk = [(int(chances.integers(4)), float(chances.uniform(0.3, 2.0))) for _ in range(250)]
    heard = diarize_in_pieces(DIARIZER, build_tones(talk), piece_seconds=2.0)
    memory = heard.state
    assert isinstance(memory, DiarizerState)
    assert len(memory.groups) <= MAX_GROUPS
    assert len(memory.intervals) <= MAX_INTERVALS
    assert memory.size_bytes < 400_000
    assert {0, 1, 2, 3} <= {*heard.speaker_order}


def test_nothing_of_a_memory_can_be_written_to() -> None:
    memory = diarize_in_pieces(DIARIZER, build_tones([(0, 4.0)])).state
    assert isinstance(memory, DiarizerState)
    with pytest.raises(ValueError, match="read-only"):
        memory.groups.sums[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        memory.intervals.starts[0] = 0


def test_a_long_piece_is_heard_as_its_parts_are() -> None:
    talk = build_tones([(0, 8.0), (2, 8.0), (0, 8.0)])
    whole, parts = (
        diarize_in_pieces(DIARIZER, talk, piece_seconds=24.0),
        diarize_in_pieces(DIARIZER, talk, piece_seconds=2.0),
    )
    assert whole.speaker_order == parts.speaker_order == [0, 1, 0]


def test_two_who_speak_at_once_both_have_turns() -> None:
    first = build_tones([(0, 4.0), (None, 2.5), (0, 3.0)])
    second = build_tones([(None, 5.0), (2, 4.5)])
    heard = diarize_in_pieces(WITH_TURNS, first + np.pad(second, (0, first.size - second.size)))
    for turns in (heard.turns, WITH_TURNS.finalize(heard.state)):
        spoken = {who: sum(turn.end - turn.start for turn in turns if turn.speaker == who) for who in (0, 1)}
        assert spoken[0] == pytest.approx(7.0, abs=0.4)
        assert spoken[1] == pytest.approx(4.5, abs=0.4)


def test_turns_change_where_the_voice_does_whatever_the_pieces() -> None:
    talk = build_tones([(0, 4.3), (3, 1.9), (0, 2.6)])
    for piece in (0.5, 1.5, 4.0):
        heard = diarize_in_pieces(WITH_TURNS, talk, piece_seconds=piece)
        assert [turn.start for turn in WITH_TURNS.finalize(heard.state)] == pytest.approx(
            [0.0, 4.3, 6.2], abs=0.05
        )


def test_a_piece_without_speech_is_not_listened_to() -> None:
    talk = build_tones([(0, 4.0)])
    carry = diarize_in_pieces(WITH_TURNS, talk).state
    (voices,) = WITH_TURNS.diarize([DiarizationChunk(talk[:SAMPLE_RATE], 4.0, (), state=carry)])
    assert voices.turns == ()
    assert len(WITH_TURNS.finalize(voices.state)) == 1


def test_pieces_that_are_too_short_to_tell_wait_for_more() -> None:
    talk = build_tones([(0, 2.0), (3, 2.0)])
    calls = CountingSegmenter()
    heard = diarize_in_pieces(OnlineDiarizer(ToneEmbedder(), calls), talk, piece_seconds=0.05)
    assert calls.asked <= 10  # 4 s in pieces of 0.4
    assert heard.turns[0].start == pytest.approx(0.0, abs=0.05)
    assert sum(turn.end - turn.start for turn in heard.turns) == pytest.approx(4.0, abs=0.1)
    assert [turn.start for turn in WITH_TURNS.finalize(heard.state)] == pytest.approx([0.0, 2.0], abs=0.05)


def test_a_short_piece_after_which_nothing_follows_is_listened_to() -> None:
    talk = build_tones([(0, 2.2)])
    heard = diarize_in_pieces(WITH_TURNS, talk, piece_seconds=2.0)
    assert heard.turns[-1].end == pytest.approx(2.2, abs=0.02)


class CountingSegmenter(ToneSegmenter):
    asked = 0

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        self.asked += 1
        return super().find_voices(audio)
