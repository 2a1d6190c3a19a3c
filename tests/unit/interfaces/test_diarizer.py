"""Tests of the types that diarizers share with the session."""

from __future__ import annotations

import numpy as np

from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, SpeakerOptions, SpeakerTurn


def test_the_repr_of_a_chunk_contains_no_audio_and_no_state() -> None:
    chunk = DiarizationChunk(np.full(4, 0.125, np.float32), 0.0, (), state="secret")
    assert "0.125" not in repr(chunk)
    assert "secret" not in repr(chunk)


def test_the_repr_of_a_result_contains_no_state() -> None:
    result = DiarizationResult((SpeakerTurn(0.0, 1.0, 0),), "secret")
    assert "secret" not in repr(result)


def test_the_number_of_speakers_is_unknown_by_default() -> None:
    assert DiarizationChunk(np.zeros(1, np.float32), 0.0, ()).options == SpeakerOptions(None, None)
