"""Terms that a stream listens for, through the session and the tiny Parakeet."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.session.session import Session
from support.play import Json, SessionDriver, filter_frames, frame_texts
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_talks


@cache
def engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


def streamed(audio: np.ndarray, terms: list[str], size: int = 3_000) -> list[Json]:
    play = SessionDriver(engine(), Session())
    play.send({"type": "config", "word_timestamps": True, "vocabulary": {"terms": terms}})
    play.push_in_messages(audio, [size] * (len(audio) // size))
    play.send({"type": "commit"})
    assert filter_frames(play.frames, "warning") == []
    return filter_frames(play.frames, "final")


def in_noise(number: int, seed: int, share: float = 0.6) -> np.ndarray:
    audio = read_talks()[number][0]
    noise = np.random.default_rng(seed).normal(0, share * np.sqrt((audio**2).mean()), audio.size)
    return (audio + noise.astype(np.float32)).astype(np.float32)


def test_a_word_that_noise_hides_is_heard_by_who_listens_for_it() -> None:
    audio = in_noise(1, 0)
    without, told = (" ".join(frame_texts(streamed(audio, terms))) for terms in ([], ["Wednesday"]))
    assert read_talks()[1][1].count("wednesday") == told.count("wednesday") == 2
    assert without.count("wednesday") == 1
    assert told.replace("wednesday", "red") == without.replace("wednesday", "red")


@pytest.mark.parametrize("number", range(3))
def test_what_is_heard_well_is_heard_no_otherwise_by_who_listens(number: int) -> None:
    audio, text = read_talks()[number]
    terms = ["zarathustra", "carolina", "seventy seven", "kitchen", "radio", "boston"]
    assert " ".join(frame_texts(streamed(audio, terms))) == text


def test_times_of_terms_lie_in_order_and_before_their_final_ends() -> None:
    terms = sorted(set(read_talks()[0][1].split()))
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
