"""Hears where there is speech on a stretch's tape, at whatever rate the detector listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.audio.resample import Resampler
from echoic.audio.speech import SpeechRules, SpeechTracker, Utterance
from echoic.units import rescale, to_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from echoic.audio.speech import VoiceActivity


class AllSpeech:
    """The voice activity of a stream without a detector: everything may be speech."""

    sample_rate = 16_000
    frame_samples = 512

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return 1.0 for each frame."""
        return [1.0] * len(frames)


class Ear:
    """A speech tracker whose positions are samples of the tape.

    Args:
        voice: The stream's detector.
        rate: Samples per second of the tape.
        longest: Seconds of the longest utterance.
    """

    def __init__(self, voice: VoiceActivity, rate: int, longest: float) -> None:
        self.rate = rate
        self._own_rate = voice.sample_rate
        rules = SpeechRules(longest=longest)
        self._tracker = SpeechTracker(voice, rules)
        unseen = to_samples(rules.least + rules.pause + rules.padding, voice.sample_rate)
        self._unseen = unseen + 2 * voice.frame_samples
        self._resampler = Resampler(rate, voice.sample_rate)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Hear what was put on the tape."""
        self._tracker.push(self._resampler.push(samples))

    @property
    def heard(self) -> int:
        """Samples of the tape that the detector has heard."""
        return self._there(self._tracker.heard)

    @property
    def settled(self) -> int:
        """The sample before which no utterance begins that does not show yet."""
        return self._there(self._tracker.heard - self._unseen)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances that are over and not forgotten, then the one that goes on."""
        return tuple(
            Utterance(self._there(u.start), None if u.end is None else self._there(u.end))
            for u in self._tracker.utterances
        )

    def speech_between(self, start: int, end: int) -> bool:
        """Return whether there is speech among these samples."""
        return self._tracker.speech_between(self._here(start), self._here(end))

    def spoken_between(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return where there is speech among these samples, in order."""
        spoken = self._tracker.spoken_between(self._here(start), self._here(end))
        return tuple((self._there(begin), self._there(stop)) for begin, stop in spoken)

    def close(self) -> None:
        """End the utterance that goes on at what is heard."""
        self._tracker.close()

    def forget(self, before: int) -> None:
        """Forget utterances and speech up to a sample of the tape."""
        self._tracker.forget(self._here(before))

    def _here(self, position: int) -> int:
        return rescale(position, self.rate, self._own_rate)

    def _there(self, position: int) -> int:
        return rescale(position, self._own_rate, self.rate)
