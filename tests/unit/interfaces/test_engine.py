"""Tests of the types that engines share with the session."""

from __future__ import annotations

import numpy as np

from echoic.interfaces.engine import DecodeOptions, Token, Window, build_text_hypothesis
from echoic.text.vocabulary import NO_HOTWORDS


def test_text_becomes_volatile_words_without_times() -> None:
    hypothesis = build_text_hypothesis("  good\tmorning ")
    assert hypothesis.volatile == (Token(" good"), Token(" morning"))
    assert (hypothesis.committed, hypothesis.state) == ((), None)


def test_empty_text_has_no_words() -> None:
    assert build_text_hypothesis(" \n").volatile == ()


def test_the_repr_of_a_window_contains_no_audio_and_no_state() -> None:
    window = Window(np.full(4, 0.125, np.float32), 16_000, 0.0, 1, 2, 1, state="secret")
    assert "0.125" not in repr(window)
    assert "secret" not in repr(window)


def test_options_without_hotwords_share_one_object() -> None:
    assert DecodeOptions().hotwords is DecodeOptions().hotwords is NO_HOTWORDS
