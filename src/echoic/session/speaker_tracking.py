"""Who speaks in a session: the sound that a diarizer is asked about, and what came of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.audio.resample import Resampler
from echoic.interfaces.diarizer import (
    DIARIZATION_SAMPLE_RATE,
    DiarizationChunk,
    DiarizationResult,
    SpeakerOptions,
    SpeakerTurn,
)
from echoic.protocol.constants import to_speaker_label
from echoic.protocol.frames import SegmentSpeaker, Speaker
from echoic.session.decoding.strategy import TimedWord
from echoic.units import rescale

#: Seconds of turns that are kept for words that are still to be said.
_KEPT_SECONDS = 120.0
#: Seconds that a word may lie beside the turn it is taken for.
_MAX_DISTANCE = 1.0
#: Failures in a row after which nobody is asked for a while.
_MAX_FAILURES = 3
#: Seconds of audio of that while; each is twice as long as the one before, until an answer comes.
_PAUSE_SECONDS = 30.0
_MAX_PAUSE_SECONDS = 480.0


class ChunkCollector:
    """Gathers a stretch's audio until it is taken.

    Args:
        rate: Samples per second of the client's audio.
        buffer_rate: Samples per second of the stretch's tape.
        origin: The tape's end, where gathering begins.
    """

    def __init__(self, rate: int, buffer_rate: int, origin: int) -> None:
        self._resampler = (
            None if buffer_rate == DIARIZATION_SAMPLE_RATE else Resampler(rate, DIARIZATION_SAMPLE_RATE)
        )
        self._buffer_rate = buffer_rate
        self._origin = origin
        self._parts: list[NDArray[np.float32]] = []
        self._taken_samples = 0

    def push_audio(self, samples: NDArray[np.float32], resampled: NDArray[np.float32]) -> None:
        """Take audio as it came, and as it was put on the tape."""
        self._parts.append(resampled if self._resampler is None else self._resampler.push(samples))

    def take_audio(self) -> tuple[NDArray[np.float32], int, int]:
        """Return what was gathered since the last call, at ``SOUND_RATE``, and its two ends on the tape."""
        audio = np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)
        audio.flags.writeable = False
        self._parts.clear()
        begin = self._to_buffer_position(self._taken_samples)
        self._taken_samples += len(audio)
        return audio, begin, self._to_buffer_position(self._taken_samples)

    def to_chunk_samples(self, place: int, begin: int) -> int:
        """Return a place on the tape as samples since ``begin``, another place on it."""
        return rescale(place - begin, self._buffer_rate, DIARIZATION_SAMPLE_RATE)

    def _to_buffer_position(self, taken: int) -> int:
        return self._origin + rescale(taken, DIARIZATION_SAMPLE_RATE, self._buffer_rate)


@dataclass(slots=True, eq=False)
class DiarizationRequest:
    """A piece of sound on its way to the diarizer and back.

    Attributes:
        tracker: Whose it is.
        chunk: What is asked about, without the carry.
        key: The question under way, or None.
        is_answered: Whether an answer came.
        has_failed: Whether none will.
    """

    tracker: SpeakerTracker
    chunk: DiarizationChunk
    key: int | None = None
    is_answered: bool = False
    has_failed: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still to come."""
        return not (self.is_answered or self.has_failed or self.tracker.is_paused(self.chunk))


@dataclass(slots=True)
class _LabeledSegment:
    id: int
    start: float
    end: float
    speaker: int


@dataclass(slots=True, eq=False)
class SpeakerTracker:
    """What a session knows of its speakers.

    Attributes:
        options: What the client says of them.
        state: What the diarizer remembers.
        is_busy: Whether it is being asked.
    """

    options: SpeakerOptions
    state: object = None
    is_busy: bool = False
    _failures: int = 0
    _pause_count: int = 0
    _paused_until: float = 0.0
    _turns: deque[SpeakerTurn] = field(default_factory=deque)
    _seen_speakers: set[int] = field(default_factory=set)
    _segments: list[_LabeledSegment] = field(default_factory=list)
    _last_speaker: int | None = None
    _labeled_until: float = 0.0

    def is_paused(self, sound: DiarizationChunk) -> bool:
        """Whether nobody is asked about this sound, since the diarizer failed too often before."""
        return sound.start < self._paused_until

    def start_request(self, hearing: DiarizationRequest, key: int) -> DiarizationChunk:
        """Return what is to be asked, with what is known so far."""
        hearing.key, self.is_busy = key, True
        return replace(hearing.chunk, state=self.state, options=self.options)

    def on_result(self, hearing: DiarizationRequest, voices: DiarizationResult | None) -> bool:
        """Take the answer, or None: it failed; return whether the client is to be told that it rests."""
        self.is_busy, hearing.is_answered = False, voices is not None
        if voices is None:
            self._record_failure(hearing)
            return self._failures == 0 and self._pause_count == 1
        self._failures = self._pause_count = 0
        self.state = voices.state
        self._turns.extend(voices.turns)
        self._seen_speakers.update(turn.speaker for turn in voices.turns)
        while self._turns and self._turns[0].end < hearing.chunk.start - _KEPT_SECONDS:
            self._turns.popleft()
        return False

    def _record_failure(self, hearing: DiarizationRequest) -> None:
        hearing.has_failed = True
        self._failures += 1
        if self._failures == _MAX_FAILURES:
            self._paused_until = hearing.chunk.start + min(
                _PAUSE_SECONDS * 2**self._pause_count, _MAX_PAUSE_SECONDS
            )
            self._failures, self._pause_count = 0, self._pause_count + 1

    def label_words(
        self, segment_id: int, words: Sequence[TimedWord], start: float, end: float
    ) -> list[int | None]:
        """Return who says each word of a final; None: nobody knows.

        Args:
            segment_id: The final's.
            words: Its words.
            start: Seconds at which its segment begins.
            end: And ends.
        """
        speakers = self._assign_speakers(words, end)
        if (speaker := find_main_speaker(speakers, words)) is not None:
            known = [moment for word in words for moment in (word.start, word.middle, word.end)]
            moments = [moment for moment in known if moment is not None] or [start, end]
            self._segments.append(_LabeledSegment(segment_id, min(moments), max(moments), speaker))
        return speakers

    def _assign_speakers(self, words: Sequence[TimedWord], until: float) -> list[int | None]:
        since, self._labeled_until = self._labeled_until, until
        said: list[int | None] = []
        for word in words:
            middle = word.middle
            speaker = self._main_speaker(since, until) if middle is None else self._speaker_at(middle)
            said.append(self._last_speaker if speaker is None else speaker)
            self._last_speaker = said[-1]
        return said

    @property
    def has_unreported(self) -> bool:
        """Whether there are finals that no summary has told of."""
        return bool(self._segments)

    def take_summary(
        self, review: Sequence[SpeakerTurn] | None
    ) -> tuple[tuple[SegmentSpeaker, ...], tuple[Speaker, ...]]:
        """Return who speaks in the finals since the last call, and the session's speakers.

        Args:
            review: The best account of the session, or None: what was said stands.
        """
        seen = {turn.speaker for turn in review} if review else self._seen_speakers
        mapped = []
        for segment in self._segments:
            better = _longest_speaker(review, segment.start, segment.end) if review else None
            speaker = segment.speaker if better is None else better
            mapped.append(SegmentSpeaker(segment.id, speaker, to_speaker_label(speaker)))
        self._segments.clear()
        ids = sorted(seen | {one.speaker_id for one in mapped})
        return tuple(mapped), tuple(Speaker(one, to_speaker_label(one)) for one in ids)

    def _speaker_at(self, moment: float) -> int | None:
        near = min(self._turns, key=lambda turn: _distance_to_turn(turn, moment), default=None)
        return near.speaker if near is not None and _distance_to_turn(near, moment) <= _MAX_DISTANCE else None

    def _main_speaker(self, start: float, end: float) -> int | None:
        return _longest_speaker(self._turns, start, end)


def find_main_speaker(speakers: Iterable[int | None], words: Sequence[TimedWord]) -> int | None:
    """Return who says most of the words, by their seconds or, without times, by their number."""
    seconds: Counter[int] = Counter()
    for speaker, word in zip(speakers, words, strict=True):
        if speaker is not None:
            timed = word.start is not None and word.end is not None
            # Microseconds: a Counter counts whole things.
            seconds[speaker] += round(1e6 * ((word.end or 0.0) - (word.start or 0.0))) + 1 if timed else 1
    return max(seconds, key=lambda one: (seconds[one], -one)) if seconds else None


def _longest_speaker(turns: Iterable[SpeakerTurn], start: float, end: float) -> int | None:
    seconds: dict[int, float] = {}
    for turn in turns:
        shared = min(turn.end, end) - max(turn.start, start)
        if shared > 0:
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + shared
    return max(seconds, key=lambda one: (seconds[one], -one)) if seconds else None


def _distance_to_turn(turn: SpeakerTurn, moment: float) -> float:
    return max(turn.start - moment, moment - turn.end, 0.0)
