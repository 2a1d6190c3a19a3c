"""Who speaks in a session: the sound that a diarizer is asked about, and what came of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.audio.resample import Resampler
from echoic.interfaces.diarizer import SOUND_RATE, Sound, SpeakerWishes, Turn, Voices
from echoic.protocol.frames import SegmentSpeaker, Speaker
from echoic.session.decoding.strategy import Spoken
from echoic.units import rescale

#: Seconds of turns that are kept for words that are still to be said.
_KEPT = 120.0
#: Seconds that a word may lie beside the turn it is taken for.
_NEAR = 1.0
#: Failures in a row after which nobody is asked for a while.
_MOST_FAILURES = 3
#: Seconds of audio of that while; each is twice as long as the one before, until an answer comes.
_REST = 30.0
_LONGEST_REST = 480.0


def label_of(speaker: int) -> str:
    """Return a speaker's name on the wire."""
    return f"SPEAKER_{speaker:02d}"


class Gatherer:
    """Gathers a stretch's audio until it is taken.

    Args:
        rate: Samples per second of the client's audio.
        tape_rate: Samples per second of the stretch's tape.
        origin: The tape's end, where gathering begins.
    """

    def __init__(self, rate: int, tape_rate: int, origin: int) -> None:
        self._resampler = None if tape_rate == SOUND_RATE else Resampler(rate, SOUND_RATE)
        self._tape_rate = tape_rate
        self._origin = origin
        self._parts: list[NDArray[np.float32]] = []
        self._taken = 0

    def add(self, samples: NDArray[np.float32], resampled: NDArray[np.float32]) -> None:
        """Take audio as it came, and as it was put on the tape."""
        self._parts.append(resampled if self._resampler is None else self._resampler.push(samples))

    def take(self) -> tuple[NDArray[np.float32], int, int]:
        """Return what was gathered since the last call, at ``SOUND_RATE``, and its two ends on the tape."""
        audio = np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)
        audio.flags.writeable = False
        self._parts.clear()
        begin = self._there(self._taken)
        self._taken += len(audio)
        return audio, begin, self._there(self._taken)

    def here(self, place: int, begin: int) -> int:
        """Return a place on the tape as samples since ``begin``, another place on it."""
        return rescale(place - begin, self._tape_rate, SOUND_RATE)

    def _there(self, taken: int) -> int:
        return self._origin + rescale(taken, SOUND_RATE, self._tape_rate)


@dataclass(slots=True, eq=False)
class Hearing:
    """A piece of sound on its way to the diarizer and back.

    Attributes:
        listening: Whose it is.
        sound: What is asked about, without the carry.
        key: The question under way, or None.
        answered: Whether an answer came.
        failed: Whether none will.
    """

    listening: Listening
    sound: Sound
    key: int | None = None
    answered: bool = False
    failed: bool = False

    @property
    def waits(self) -> bool:
        """Whether an answer is still to come."""
        return not (self.answered or self.failed or self.listening.rests(self.sound))


@dataclass(slots=True)
class _Segment:
    id: int
    start: float
    end: float
    speaker: int


@dataclass(slots=True, eq=False)
class Listening:
    """What a session knows of its speakers.

    Attributes:
        wishes: What the client says of them.
        carry: What the diarizer remembers.
        busy: Whether it is being asked.
    """

    wishes: SpeakerWishes
    carry: object = None
    busy: bool = False
    _failures: int = 0
    _rested: int = 0
    _rests_until: float = 0.0
    _turns: deque[Turn] = field(default_factory=deque)
    _seen: set[int] = field(default_factory=set)
    _segments: list[_Segment] = field(default_factory=list)
    _last: int | None = None
    _said_until: float = 0.0

    def rests(self, sound: Sound) -> bool:
        """Whether nobody is asked about this sound, since the diarizer failed too often before."""
        return sound.start < self._rests_until

    def ask(self, hearing: Hearing, key: int) -> Sound:
        """Return what is to be asked, with what is known so far."""
        hearing.key, self.busy = key, True
        return replace(hearing.sound, carry=self.carry, wishes=self.wishes)

    def answer(self, hearing: Hearing, voices: Voices | None) -> bool:
        """Take the answer, or None: it failed; return whether the client is to be told that it rests."""
        self.busy, hearing.answered = False, voices is not None
        if voices is None:
            self._fail(hearing)
            return self._failures == 0 and self._rested == 1
        self._failures = self._rested = 0
        self.carry = voices.carry
        self._turns.extend(voices.turns)
        self._seen.update(turn.speaker for turn in voices.turns)
        while self._turns and self._turns[0].end < hearing.sound.start - _KEPT:
            self._turns.popleft()
        return False

    def _fail(self, hearing: Hearing) -> None:
        hearing.failed = True
        self._failures += 1
        if self._failures == _MOST_FAILURES:
            self._rests_until = hearing.sound.start + min(_REST * 2**self._rested, _LONGEST_REST)
            self._failures, self._rested = 0, self._rested + 1

    def label(self, segment_id: int, words: Sequence[Spoken], start: float, end: float) -> list[int | None]:
        """Return who says each word of a final; None: nobody knows.

        Args:
            segment_id: The final's.
            words: Its words.
            start: Seconds at which its segment begins.
            end: And ends.
        """
        speakers = self._speakers_of(words, end)
        if (speaker := most_of(speakers, words)) is not None:
            known = [moment for word in words for moment in (word.start, word.middle, word.end)]
            moments = [moment for moment in known if moment is not None] or [start, end]
            self._segments.append(_Segment(segment_id, min(moments), max(moments), speaker))
        return speakers

    def _speakers_of(self, words: Sequence[Spoken], until: float) -> list[int | None]:
        since, self._said_until = self._said_until, until
        said: list[int | None] = []
        for word in words:
            middle = word.middle
            speaker = self._mostly(since, until) if middle is None else self._at(middle)
            said.append(self._last if speaker is None else speaker)
            self._last = said[-1]
        return said

    @property
    def has_news(self) -> bool:
        """Whether there are finals that no summary has told of."""
        return bool(self._segments)

    def summary(
        self, review: Sequence[Turn] | None
    ) -> tuple[tuple[SegmentSpeaker, ...], tuple[Speaker, ...]]:
        """Return who speaks in the finals since the last call, and the session's speakers.

        Args:
            review: The best account of the session, or None: what was said stands.
        """
        seen = {turn.speaker for turn in review} if review else self._seen
        mapped = []
        for segment in self._segments:
            better = _most(review, segment.start, segment.end) if review else None
            speaker = segment.speaker if better is None else better
            mapped.append(SegmentSpeaker(segment.id, speaker, label_of(speaker)))
        self._segments.clear()
        ids = sorted(seen | {one.speaker_id for one in mapped})
        return tuple(mapped), tuple(Speaker(one, label_of(one)) for one in ids)

    def _at(self, moment: float) -> int | None:
        near = min(self._turns, key=lambda turn: _distance(turn, moment), default=None)
        return near.speaker if near is not None and _distance(near, moment) <= _NEAR else None

    def _mostly(self, start: float, end: float) -> int | None:
        return _most(self._turns, start, end)


def most_of(speakers: Iterable[int | None], words: Sequence[Spoken]) -> int | None:
    """Return who says most of the words, by their seconds or, without times, by their number."""
    seconds: Counter[int] = Counter()
    for speaker, word in zip(speakers, words, strict=True):
        if speaker is not None:
            timed = word.start is not None and word.end is not None
            # Microseconds: a Counter counts whole things.
            seconds[speaker] += round(1e6 * ((word.end or 0.0) - (word.start or 0.0))) + 1 if timed else 1
    return max(seconds, key=lambda one: (seconds[one], -one)) if seconds else None


def _most(turns: Iterable[Turn], start: float, end: float) -> int | None:
    seconds: dict[int, float] = {}
    for turn in turns:
        shared = min(turn.end, end) - max(turn.start, start)
        if shared > 0:
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + shared
    return max(seconds, key=lambda one: (seconds[one], -one)) if seconds else None


def _distance(turn: Turn, moment: float) -> float:
    return max(turn.start - moment, moment - turn.end, 0.0)
