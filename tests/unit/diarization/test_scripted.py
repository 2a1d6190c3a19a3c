from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import draw_words
from echoic.interfaces.diarizer import DiarizationChunk, SpeakerOptions, SpeakerTurn

ANY = SpeakerOptions()
#: With ten words to a voice: the first, the second, the third.
ONE, TWO, THREE = ["one", "two", "three"], ["golf", "hotel"], ["whiskey", "xray"]


@dataclass(frozen=True)
class Diarized:
    turns: list[SpeakerTurn]
    state: object

    @property
    def speakers(self) -> list[int]:
        return [turn.speaker for turn in self.turns]


def diarize(
    diarizer: ScriptedDiarizer,
    audio: NDArray[np.float32],
    options: SpeakerOptions = ANY,
    chunk_samples: int = 24_000,
) -> Diarized:
    turns: list[SpeakerTurn] = []
    state: object = None
    for start in range(0, audio.size, chunk_samples):
        part = audio[start : start + chunk_samples]
        chunk = DiarizationChunk(part, start / 16_000, ((0, part.size),), state=state, options=options)
        (result,) = diarizer.diarize([chunk])
        turns += result.turns
        state = result.state
    return Diarized(turns, state)


def test_voices_get_ids_in_order_of_appearance() -> None:
    heard = diarize(ScriptedDiarizer(), draw_words([*THREE, *ONE, *THREE]), chunk_samples=1_000_000)
    assert heard.speakers == [0, 1, 0]
    assert heard.turns[0].start == 0
    assert heard.turns[1].start == pytest.approx(0.8)
    assert heard.turns[1].end == pytest.approx(1.9)


def test_ids_are_stable_across_chunks() -> None:
    heard = diarize(ScriptedDiarizer(), draw_words([*TWO, *ONE, *TWO, *ONE]), chunk_samples=6_400)
    assert heard.speakers == [0] * 2 + [1] * 3 + [0] * 2 + [1] * 3


def test_finalize_corrects_a_voice_recognized_late() -> None:
    diarizer = ScriptedDiarizer(new_speaker_delay=0.5)
    heard = diarize(diarizer, draw_words([*ONE, *TWO, *ONE]), chunk_samples=6_400)
    assert heard.speakers == [0, 0, 0, 0, 1, 0, 0, 0]
    assert [turn.speaker for turn in diarizer.finalize(heard.state)] == [0, 1, 0]


def test_there_are_at_most_as_many_speakers_as_allowed() -> None:
    diarizer = ScriptedDiarizer()
    heard = diarize(diarizer, draw_words([*ONE, *TWO, *THREE]), SpeakerOptions(max_count=2))
    assert set(heard.speakers) == {0, 1}
    assert {turn.speaker for turn in diarizer.finalize(heard.state)} == {0, 1}


def test_a_new_session_has_no_turns() -> None:
    assert ScriptedDiarizer().finalize(None) == ()


def test_errors_of_hooks_propagate() -> None:
    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        diarize(ScriptedDiarizer(hooks={1: fail}), draw_words([*ONE, *TWO]))
