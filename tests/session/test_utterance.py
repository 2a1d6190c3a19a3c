"""Utterances through the session: long ones are cut, and no word is said twice or lost at the cut."""

from __future__ import annotations

import pytest

from echoic.engines.scripted import UTTERANCE, VOCABULARY, PlateauVoice, Scripted, draw
from echoic.session.core import Session
from support.play import Play, texts


def _spoken(count: int) -> list[str]:
    return [VOCABULARY[(7 * at) % len(VOCABULARY)] for at in range(count)]


@pytest.mark.parametrize("size", [1_600, 10**9])
@pytest.mark.parametrize("count", [40, 75, 150])
def test_speech_without_a_pause_is_said_once_and_whole(count: int, size: int) -> None:
    words = _spoken(count)
    audio = draw(words, word_seconds=0.3, gap_seconds=0.1)
    play = Play(Scripted(UTTERANCE), Session(PlateauVoice))
    play.hear_in(audio, [size] * (len(audio) // size + 1))
    (transcript,) = play.send({"type": "commit"})[-1:]
    assert str(transcript["text"]).split() == words


def test_partials_do_not_repeat_what_was_said_before_a_cut() -> None:
    words = _spoken(75)
    audio = draw(words, word_seconds=0.3, gap_seconds=0.1)
    play = Play(Scripted(UTTERANCE), Session(PlateauVoice))
    play.hear_in(audio, [1_600] * (len(audio) // 1_600 + 1))
    said: list[str] = []
    for frame in play.frames:
        ahead = str(frame["text"]).split()
        if frame["type"] == "final":
            said += ahead
        else:
            settled = ahead[:-1]  # the last word may be cut, and is then misheard
            assert settled == words[len(said) : len(said) + len(settled)]
    assert texts(play.frames)
