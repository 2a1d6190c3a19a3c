"""Tests of the voice activity detectors that need no model, against the interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from echoic.audio.vad import AlwaysSpeech
from echoic.engines.scripted import PlateauDetector
from echoic.interfaces.vad import VoiceActivityDetector


@pytest.mark.parametrize("build", [AlwaysSpeech, PlateauDetector])
def test_a_detector_returns_one_probability_per_frame(build: Callable[[], VoiceActivityDetector]) -> None:
    detector = build()
    for count in (1, 3):
        frames = np.zeros((count, detector.frame_samples), np.float32)
        probabilities = list(detector.probabilities(frames))
        assert len(probabilities) == count
        assert all(0.0 <= probability <= 1.0 for probability in probabilities)
    assert detector.sample_rate > 0
