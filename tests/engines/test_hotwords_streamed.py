"""Terms that a stream listens for, through the session and the tiny Parakeet."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from echoic.engines.parakeet_onnx import ParakeetOnnx
from echoic.session.core import Session
from support.play import Json, Play, kind, texts
from support.tiny_parakeet import FOLDER, talks


@cache
def engine() -> ParakeetOnnx:
    return ParakeetOnnx(FOLDER)


def streamed(audio: np.ndarray, terms: list[str], size: int = 3_000) -> list[Json]:
    play = Play(engine(), Session())
    play.send({"type": "config", "word_timestamps": True, "vocabulary": {"terms": terms}})
    play.hear_in(audio, [size] * (len(audio) // size))
    play.send({"type": "commit"})
    assert kind(play.frames, "warning") == []
    return kind(play.frames, "final")


def in_noise(number: int, seed: int, share: float = 0.6) -> np.ndarray:
    audio = talks()[number][0]
    noise = np.random.default_rng(seed).normal(0, share * np.sqrt((audio**2).mean()), audio.size)
    return (audio + noise.astype(np.float32)).astype(np.float32)


def test_a_word_that_noise_hides_is_heard_by_who_listens_for_it() -> None:
    audio = in_noise(1, 0)
    without, told = (" ".join(texts(streamed(audio, terms))) for terms in ([], ["Wednesday"]))
    assert talks()[1][1].count("wednesday") == told.count("wednesday") == 2
    assert without.count("wednesday") == 1
    assert told.replace("wednesday", "red") == without.replace("wednesday", "red")


@pytest.mark.parametrize("number", range(3))
def test_what_is_heard_well_is_heard_no_otherwise_by_who_listens(number: int) -> None:
    audio, text = talks()[number]
    terms = ["zarathustra", "carolina", "seventy seven", "kitchen", "radio", "boston"]
    assert " ".join(texts(streamed(audio, terms))) == text


def test_times_of_terms_lie_in_order_and_before_their_final_ends() -> None:
    terms = sorted(set(talks()[0][1].split()))
    last = 0.0
    for final in streamed(in_noise(0, 1), terms):
        words = final["words"]
        assert isinstance(words, list)
        assert final["text"] == " ".join(word["word"] for word in words)
        for word in words:
            assert last <= word["start"] + 1e-6
            assert word["start"] <= word["end"] <= float(str(final["segment_end"])) + 1e-6
            last = word["start"]


def test_finals_are_the_same_however_the_audio_is_cut() -> None:
    audio, terms = in_noise(2, 2), ["garden", "alice", "television", "call frank"]
    assert streamed(audio, terms, 3_000) == streamed(audio, terms, 40_000)
