"""Interface of a voice activity detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class VoiceActivityDetector(Protocol):
    """One stream's voice-activity detector: keeps its state, shares its weights."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of what it hears."""

    @property
    def frame_samples(self) -> int:
        """Samples of one frame; one probability a frame."""

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return the probability of speech (0..1) of each frame.

        Args:
            frames: float32, shape ``(n, frame_samples)``, -1..1, contiguous in time with the last call.
        """
