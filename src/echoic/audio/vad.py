"""Where there is speech: the Protocol of the voice-activity model, and the utterances it makes out."""

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
    """How probabilities become utterances; measured with Silero and Moonshine, docs/decisions/0005.

    Attributes:
        start_threshold: Probability from which a frame begins speech.
        continue_threshold: Probability from which a frame goes on with speech that has begun.
        min_speech_seconds: Seconds from the first to the last speech below which there is no utterance.
        pause_seconds: Seconds without speech that end an utterance.
        padding_seconds: Seconds of audio that an utterance has before its first and after its last speech.
        max_seconds: Seconds of speech after which an utterance is cut.
        split_search_seconds: Seconds before that moment in which the quietest place is looked for.
    """

    start_threshold: float = 0.5
    continue_threshold: float = 0.35
    min_speech_seconds: float = 0.25
    pause_seconds: float = 0.6
    padding_seconds: float = 0.2
    max_seconds: float = 20.0
    split_search_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech between two pauses, with its padding.

    Attributes:
        start: Its first sample.
        end: The sample after its last, or None while it goes on.
    """

    start: int
    end: int | None


class UtteranceDetector:
    """Follows one stream and makes out its utterances; positions are samples since the first one pushed.

    All answers are functions of the audio pushed so far, however it was cut.

    Args:
        detector: The stream's detector; positions are at its sample rate.
        config: How its probabilities become utterances.
    """

    def __init__(self, detector: VoiceActivityDetector, config: VadConfig | None = None) -> None:
        self.config = config or VadConfig()
        self._detector = detector
        self._frame_samples = detector.frame_samples
        self._remainder: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._processed = 0
        self._utterance_start: int | None = None  # where the speech of the open utterance begins
        self._last_speech_end = 0  # where the last speech ends; 0: none yet
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
        """The utterances that are over and not forgotten, then the one that goes on, in their order.

        Speech shows once it has lasted for ``min_speech_seconds`` seconds.
        """
        if self._utterance_start is None or self._last_speech_end - self._utterance_start < self._to_samples(
            self.config.min_speech_seconds
        ):
            return tuple(self._closed)
        return (*self._closed, Utterance(self._pad_start(self._utterance_start), None))

    @property
    def trailing_silence(self) -> int:
        """Samples since the last speech; all that was heard, if there was none."""
        return self.consumed - self._last_speech_end

    def push(self, samples: NDArray[np.float32]) -> None:
        """Hear more of the stream.

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
        """Return whether any of the samples from ``start`` up to ``end`` is speech."""
        return any(begin < end and start < stop for begin, stop in self._speech_spans)

    def find_speech(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return where there is speech among the samples from ``start`` up to ``end``, in order."""
        parts = ((max(begin, start), min(stop, end)) for begin, stop in self._speech_spans)
        return tuple((begin, stop) for begin, stop in parts if begin < stop)

    def close_utterance(self) -> None:
        """End what goes on at what is heard, even if it is too short to have shown (for a commit)."""
        if self._utterance_start is not None and self._utterance_start < self._last_speech_end:
            self._close_utterance(self._utterance_start, min(self._pad_end(), self.consumed))
        self._utterance_start = None

    def discard_before(self, before: int) -> None:
        """Forget the utterances that ended, and the speech that was, up to the sample ``before``."""
        self._closed = [known for known in self._closed if known.end is None or known.end > before]
        self._speech_spans = [(begin, end) for begin, end in self._speech_spans if end > before]

    def _process_frame(self, probability: float) -> None:
        """Hear one frame."""
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
        """The frame from ``start`` on is speech."""
        if self._utterance_start is None:
            self._utterance_start = start
        if self._speech_spans and self._speech_spans[-1][1] == start:
            start = self._speech_spans.pop()[0]
        self._last_speech_end = self._processed
        self._speech_spans.append((start, self._last_speech_end))

    def _end_at_pause(self, first: int) -> None:
        """The speech from ``first`` on is over; what was too short is no utterance."""
        if self._last_speech_end - first >= self._to_samples(self.config.min_speech_seconds):
            self._close_utterance(first, min(self._pad_end(), self._processed))
        self._utterance_start = None

    def _split_utterance(self, first: int) -> None:
        """The speech from ``first`` on lasts too long: cut it at its quietest place, go on from there."""
        place = self._find_quietest((self._processed - first) // self._frame_samples)
        self._close_utterance(first, place)
        self._utterance_start = place

    def _close_utterance(self, first: int, end: int) -> None:
        self._closed.append(Utterance(self._pad_start(first), end))
        self._closed_until = end

    def _find_quietest(self, frames: int) -> int:
        """Return the middle of the quietest of the last ``frames``, its neighbours counted with it."""
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
    """The voice activity of a stream without a detector: everything may be speech."""

    sample_rate = 16_000
    frame_samples = 512

    def probabilities(self, frames: NDArray[np.float32]) -> Sequence[float]:
        """Return 1.0 for each frame."""
        return [1.0] * len(frames)


class SpeechDetector:
    """A speech tracker whose positions are samples of the tape.

    Args:
        detector: The stream's detector.
        rate: Samples per second of the tape.
        max_utterance_seconds: Seconds of the longest utterance.
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
        """Hear what was put on the tape."""
        self._utterance_detector.push(self._resampler.push(samples))

    @property
    def consumed(self) -> int:
        """Samples of the tape that the detector has heard."""
        return self._to_detector_position(self._utterance_detector.consumed)

    @property
    def settled_until(self) -> int:
        """The sample before which no utterance begins that does not show yet."""
        return self._to_detector_position(self._utterance_detector.consumed - self._lookback)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances that are over and not forgotten, then the one that goes on."""
        return tuple(
            Utterance(
                self._to_detector_position(u.start),
                None if u.end is None else self._to_detector_position(u.end),
            )
            for u in self._utterance_detector.utterances
        )

    def has_speech(self, start: int, end: int) -> bool:
        """Return whether there is speech among these samples."""
        return self._utterance_detector.has_speech(
            self._to_buffer_position(start), self._to_buffer_position(end)
        )

    def find_speech(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return where there is speech among these samples, in order."""
        spoken = self._utterance_detector.find_speech(
            self._to_buffer_position(start), self._to_buffer_position(end)
        )
        return tuple(
            (self._to_detector_position(begin), self._to_detector_position(stop)) for begin, stop in spoken
        )

    def close_utterance(self) -> None:
        """End the utterance that goes on at what is heard."""
        self._utterance_detector.close_utterance()

    def discard_before(self, before: int) -> None:
        """Forget utterances and speech up to a sample of the tape."""
        self._utterance_detector.discard_before(self._to_buffer_position(before))

    def _to_buffer_position(self, position: int) -> int:
        return rescale(position, self.rate, self._detector_rate)

    def _to_detector_position(self, position: int) -> int:
        return rescale(position, self._detector_rate, self.rate)
