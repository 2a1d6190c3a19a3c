"""Where there is speech: the Protocol of the voice-activity model, and the utterances it makes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.audio.resample import Resampler
from echoic.interfaces.vad import VoiceActivity
from echoic.units import rescale, to_samples


@dataclass(frozen=True, slots=True)
class SpeechRules:
    """How probabilities become utterances; measured with Silero and Moonshine, docs/decisions/0005.

    Attributes:
        begin: Probability from which a frame begins speech.
        go_on: Probability from which a frame goes on with speech that has begun.
        least: Seconds from the first to the last speech below which there is no utterance.
        pause: Seconds without speech that end an utterance.
        padding: Seconds of audio that an utterance has before its first and after its last speech.
        longest: Seconds of speech after which an utterance is cut.
        search: Seconds before that moment in which the quietest place is looked for.
    """

    begin: float = 0.5
    go_on: float = 0.35
    least: float = 0.25
    pause: float = 0.6
    padding: float = 0.2
    longest: float = 20.0
    search: float = 5.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech between two pauses, with its padding.

    Attributes:
        start: Its first sample.
        end: The sample after its last, or None while it goes on.
    """

    start: int
    end: int | None


class SpeechTracker:
    """Follows one stream and makes out its utterances; positions are samples since the first one pushed.

    All answers are functions of the audio pushed so far, however it was cut.

    Args:
        voice: The stream's detector; positions are at its sample rate.
        rules: How its probabilities become utterances.
    """

    def __init__(self, voice: VoiceActivity, rules: SpeechRules | None = None) -> None:
        self.rules = rules or SpeechRules()
        self._voice = voice
        self._frame = voice.frame_samples
        self._rest: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._framed = 0
        self._first: int | None = None  # where the speech of the open utterance begins
        self._last = 0  # where the last speech ends; 0: none yet
        self._closed: list[Utterance] = []
        self._closed_until = 0
        self._spoken: list[tuple[int, int]] = []
        self._recent: deque[float] = deque(maxlen=self._samples(self.rules.search) // self._frame)

    @property
    def heard(self) -> int:
        """Samples pushed so far."""
        return self._framed + len(self._rest)

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The utterances that are over and not forgotten, then the one that goes on, in their order.

        Speech shows once it has lasted for ``least`` seconds.
        """
        if self._first is None or self._last - self._first < self._samples(self.rules.least):
            return tuple(self._closed)
        return (*self._closed, Utterance(self._padded(self._first), None))

    @property
    def trailing_silence(self) -> int:
        """Samples since the last speech; all that was heard, if there was none."""
        return self.heard - self._last

    def push(self, samples: NDArray[np.float32]) -> None:
        """Hear more of the stream.

        Args:
            samples: float32, shape ``(n,)``, mono, at the detector's sample rate, -1..1.
        """
        audio = np.concatenate((self._rest, samples))
        whole = len(audio) - len(audio) % self._frame
        self._rest = audio[whole:].copy()
        if whole:
            for probability in self._voice.probabilities(audio[:whole].reshape(-1, self._frame)):
                self._step(probability)

    def speech_between(self, start: int, end: int) -> bool:
        """Return whether any of the samples from ``start`` up to ``end`` is speech."""
        return any(begin < end and start < stop for begin, stop in self._spoken)

    def spoken_between(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """Return where there is speech among the samples from ``start`` up to ``end``, in order."""
        parts = ((max(begin, start), min(stop, end)) for begin, stop in self._spoken)
        return tuple((begin, stop) for begin, stop in parts if begin < stop)

    def close(self) -> None:
        """End what goes on at what is heard, even if it is too short to have shown (for a commit)."""
        if self._first is not None and self._first < self._last:
            self._finish(self._first, min(self._after_last(), self.heard))
        self._first = None

    def forget(self, before: int) -> None:
        """Forget the utterances that ended, and the speech that was, up to the sample ``before``."""
        self._closed = [known for known in self._closed if known.end is None or known.end > before]
        self._spoken = [(begin, end) for begin, end in self._spoken if end > before]

    def _step(self, probability: float) -> None:
        """Hear one frame."""
        start, self._framed = self._framed, self._framed + self._frame
        self._recent.append(probability)
        if probability >= (self.rules.begin if self._first is None else self.rules.go_on):
            self._speak(start)
        elif self._first is not None and self._framed - self._last >= self._samples(self.rules.pause):
            self._pause(self._first)
        if self._first is not None and self._framed - self._first >= self._samples(self.rules.longest):
            self._cut(self._first)

    def _speak(self, start: int) -> None:
        """The frame from ``start`` on is speech."""
        if self._first is None:
            self._first = start
        if self._spoken and self._spoken[-1][1] == start:
            start = self._spoken.pop()[0]
        self._last = self._framed
        self._spoken.append((start, self._last))

    def _pause(self, first: int) -> None:
        """The speech from ``first`` on is over; what was too short is no utterance."""
        if self._last - first >= self._samples(self.rules.least):
            self._finish(first, min(self._after_last(), self._framed))
        self._first = None

    def _cut(self, first: int) -> None:
        """The speech from ``first`` on lasts too long: cut it at its quietest place, go on from there."""
        place = self._quietest((self._framed - first) // self._frame)
        self._finish(first, place)
        self._first = place

    def _finish(self, first: int, end: int) -> None:
        self._closed.append(Utterance(self._padded(first), end))
        self._closed_until = end

    def _quietest(self, frames: int) -> int:
        """Return the middle of the quietest of the last ``frames``, its neighbours counted with it."""
        recent = list(self._recent)[-frames:]
        around = [(sum(recent[at - 1 : at + 2]), recent[at]) for at in range(1, len(recent) - 1)]
        back = len(recent) - 1 - around.index(min(around)) if around else 1
        return self._framed - back * self._frame + self._frame // 2

    def _after_last(self) -> int:
        return self._last + self._samples(self.rules.padding)

    def _padded(self, first: int) -> int:
        return max(self._closed_until, first - self._samples(self.rules.padding))

    def _samples(self, seconds: float) -> int:
        return to_samples(seconds, self._voice.sample_rate)


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
