"""Voice activity: detects utterances from speech probabilities, with hysteresis and padding.

The session uses ``SpeechDetector``: an ``UtteranceDetector`` whose positions are those of the audio buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.audio.resample import Resampler
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.units import rescale, to_samples


@dataclass(frozen=True, slots=True)
class VadConfig:
    """Thresholds and durations that turn probabilities into utterances.

    The defaults were measured with Silero and Moonshine, see docs/decisions/0005.
    """

    start_threshold: float = 0.5
    """Probability at which speech starts."""
    continue_threshold: float = 0.35
    """Probability down to which speech continues (hysteresis)."""
    min_speech_seconds: float = 0.25
    """Minimum time from the first to the last speech of an utterance."""
    pause_seconds: float = 0.6
    """Time without speech that ends an utterance."""
    padding_seconds: float = 0.2
    """Audio added before the first and after the last speech of an utterance."""
    max_seconds: float = 20.0
    """Duration at which an utterance is split."""
    split_search_seconds: float = 5.0
    """Time before the split in which the quietest place is searched."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech between two pauses, with its padding; positions in samples."""

    start: int
    """First sample."""
    end: int | None
    """Sample after the last, or None while the utterance is open."""


class UtteranceDetector:
    """Detects the utterances of one stream; positions are samples since the first one pushed.

    Results depend only on the audio so far, not on how it is divided into chunks.

    Args:
        detector: Voice activity detector of the stream; positions are at its sample rate.
        config: Thresholds and durations.
    """

    def __init__(self, detector: VoiceActivityDetector, config: VadConfig | None = None) -> None:
        self.config = config or VadConfig()
        self._detector = detector
        self._frame_samples = detector.frame_samples
        self._remainder: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._processed = 0
        self._utterance_start: int | None = None  # first speech of the open utterance
        self._last_speech_end = 0  # end of the last speech, or 0 before any
        self._closed: list[Utterance] = []
        self._closed_until = 0
        self._speech_spans: list[tuple[int, int]] = []
        self._recent_probabilities: deque[float] = deque(
            maxlen=self._to_samples(self.config.split_search_seconds) // self._frame_samples
        )

    @property
    def consumed(self) -> int:
        """Samples pushed so far."""
        return self._processed + len(self._remainder)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """Closed utterances that were not discarded, then the open one.

        The open one is listed once its speech lasts ``min_speech_seconds``.
        """
        first = self._utterance_start
        if first is None or self._last_speech_end - first < self._to_samples(self.config.min_speech_seconds):
            return tuple(self._closed)
        return (*self._closed, Utterance(self._pad_start(first), None))

    @property
    def trailing_silence(self) -> int:
        """Samples since the last speech; all samples if there was none."""
        return self.consumed - self._last_speech_end

    def push(self, samples: NDArray[np.float32]) -> None:
        """Process the next samples.

        Args:
            samples: float32, shape ``(n,)``, mono, at the detector's sample rate, -1..1.
        """
        audio = np.concatenate((self._remainder, samples))
        whole = len(audio) - len(audio) % self._frame_samples
        self._remainder = audio[whole:].copy()
        if whole:
            for probability in self._detector.probabilities(audio[:whole].reshape(-1, self._frame_samples)):
                self._process_frame(probability)

    def has_speech(self, start: int, end: int) -> bool:
        """Return whether any sample from ``start`` up to ``end`` is speech."""
        return any(begin < end and start < stop for begin, stop in self._speech_spans)

    def find_speech(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return the spans of speech from ``start`` up to ``end``, in order."""
        parts = ((max(begin, start), min(stop, end)) for begin, stop in self._speech_spans)
        return tuple((begin, stop) for begin, stop in parts if begin < stop)

    def close_utterance(self) -> None:
        """Close the open utterance at the latest sample, even if it is very short (for a commit)."""
        if self._utterance_start is not None and self._utterance_start < self._last_speech_end:
            self._close_utterance(self._utterance_start, min(self._pad_end(), self.consumed))
        self._utterance_start = None

    def discard_before(self, before: int) -> None:
        """Discard closed utterances and speech spans that end at or before a sample."""
        self._closed = [one for one in self._closed if one.end is None or one.end > before]
        self._speech_spans = [(begin, end) for begin, end in self._speech_spans if end > before]

    def _process_frame(self, probability: float) -> None:
        """Update the state with the speech probability of the next frame."""
        start, self._processed = self._processed, self._processed + self._frame_samples
        self._recent_probabilities.append(probability)
        if probability >= (
            self.config.start_threshold if self._utterance_start is None else self.config.continue_threshold
        ):
            self._extend_speech(start)
        elif (
            self._utterance_start is not None
            and self._processed - self._last_speech_end >= self._to_samples(self.config.pause_seconds)
        ):
            self._end_at_pause(self._utterance_start)
        if self._utterance_start is not None and self._processed - self._utterance_start >= self._to_samples(
            self.config.max_seconds
        ):
            self._split_utterance(self._utterance_start)

    def _extend_speech(self, start: int) -> None:
        """Record the frame from ``start`` on as speech."""
        if self._utterance_start is None:
            self._utterance_start = start
        if self._speech_spans and self._speech_spans[-1][1] == start:
            start = self._speech_spans.pop()[0]
        self._last_speech_end = self._processed
        self._speech_spans.append((start, self._last_speech_end))

    def _end_at_pause(self, first: int) -> None:
        """Close the utterance after a pause; drop it if its speech was too short."""
        if self._last_speech_end - first >= self._to_samples(self.config.min_speech_seconds):
            self._close_utterance(first, min(self._pad_end(), self._processed))
        self._utterance_start = None

    def _split_utterance(self, first: int) -> None:
        """Split an utterance that is too long at its quietest place."""
        place = self._find_quietest((self._processed - first) // self._frame_samples)
        self._close_utterance(first, place)
        self._utterance_start = place

    def _close_utterance(self, first: int, end: int) -> None:
        self._closed.append(Utterance(self._pad_start(first), end))
        self._closed_until = end

    def _find_quietest(self, frames: int) -> int:
        """Return the middle of the quietest of the last ``frames``, each taken with its neighbours."""
        recent = list(self._recent_probabilities)[-frames:]
        around = [(sum(recent[at - 1 : at + 2]), recent[at]) for at in range(1, len(recent) - 1)]
        back = len(recent) - 1 - around.index(min(around)) if around else 1
        return self._processed - back * self._frame_samples + self._frame_samples // 2

    def _pad_end(self) -> int:
        return self._last_speech_end + self._to_samples(self.config.padding_seconds)

    def _pad_start(self, first: int) -> int:
        return max(self._closed_until, first - self._to_samples(self.config.padding_seconds))

    def _to_samples(self, seconds: float) -> int:
        return to_samples(seconds, self._detector.sample_rate)


class AlwaysSpeech:
    """A voice activity detector that reports speech everywhere, for streams without a model."""

    sample_rate = 16_000
    frame_samples = 512

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return 1.0 for each frame."""
        return [1.0] * len(frames)


class SpeechDetector:
    """An utterance detector in buffer positions; converts from the detector's sample rate.

    Args:
        detector: Voice activity detector of the stream.
        rate: Samples per second of the buffer.
        max_utterance_seconds: Length in seconds at which an utterance is split.
    """

    def __init__(self, detector: VoiceActivityDetector, rate: int, max_utterance_seconds: float) -> None:
        self.rate = rate
        self._detector_rate = detector.sample_rate
        rules = VadConfig(max_seconds=max_utterance_seconds)
        self._utterance_detector = UtteranceDetector(detector, rules)
        unseen = to_samples(
            rules.min_speech_seconds + rules.pause_seconds + rules.padding_seconds, detector.sample_rate
        )
        self._lookback = unseen + 2 * detector.frame_samples
        self._resampler = Resampler(rate, detector.sample_rate)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Process the next samples of the buffer."""
        self._utterance_detector.push(self._resampler.push(samples))

    @property
    def consumed(self) -> int:
        """Position in the buffer up to which the detector has processed samples."""
        return self._to_detector_position(self._utterance_detector.consumed)

    @property
    def settled_until(self) -> int:
        """Position before which no further utterance can begin."""
        return self._to_detector_position(self._utterance_detector.consumed - self._lookback)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """Closed utterances that were not discarded, then the open one."""
        return tuple(
            Utterance(
                self._to_detector_position(u.start),
                None if u.end is None else self._to_detector_position(u.end),
            )
            for u in self._utterance_detector.utterances
        )

    def has_speech(self, start: int, end: int) -> bool:
        """Return whether any sample from ``start`` up to ``end`` is speech."""
        return self._utterance_detector.has_speech(
            self._to_buffer_position(start), self._to_buffer_position(end)
        )

    def find_speech(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return the spans of speech from ``start`` up to ``end``, in order."""
        spoken = self._utterance_detector.find_speech(
            self._to_buffer_position(start), self._to_buffer_position(end)
        )
        return tuple(
            (self._to_detector_position(begin), self._to_detector_position(stop)) for begin, stop in spoken
        )

    def close_utterance(self) -> None:
        """Close the open utterance at the latest sample."""
        self._utterance_detector.close_utterance()

    def discard_before(self, before: int) -> None:
        """Discard utterances and speech that end at or before a position."""
        self._utterance_detector.discard_before(self._to_buffer_position(before))

    def _to_buffer_position(self, position: int) -> int:
        return rescale(position, self.rate, self._detector_rate)

    def _to_detector_position(self, position: int) -> int:
        return rescale(position, self._detector_rate, self.rate)
