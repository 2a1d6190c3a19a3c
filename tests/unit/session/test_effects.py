"""Tests of the union of effects."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import get_args

import numpy as np
import pytest

from echoic.interfaces.diarizer import DiarizationChunk
from echoic.session import effects
from echoic.session.effects import Diarize, Effect, RecordAudio


def test_the_union_contains_every_effect_of_the_module() -> None:
    defined = {
        value
        for value in vars(effects).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == effects.__name__
    }
    assert set(get_args(Effect)) == defined


@pytest.mark.parametrize(
    "effect",
    [
        RecordAudio(np.full(3, 0.125, np.float32)),
        Diarize(1, DiarizationChunk(np.full(3, 0.125, np.float32), 0.0, ())),
    ],
    ids=lambda effect: type(effect).__name__,
)
def test_the_repr_of_an_effect_contains_no_audio(effect: Effect) -> None:
    assert "0.125" not in repr(effect)
