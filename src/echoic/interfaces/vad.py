"""Interface of a voice activity detector: frames of audio in, speech probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class VoiceActivityDetector(Protocol):
    """The voice activity detector of one stream. It keeps the stream's state; weights may be shared."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of the frames."""

    @property
    def frame_samples(self) -> int:
        """Samples per frame."""

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return the probability of speech (0..1) for each frame.

        Args:
            frames: float32, shape ``(n, frame_samples)``, -1..1; continues the audio of the last call.
        """
