"""A diarizer that tells speakers by what ``engines.scripted.draw`` drew: for tests and for load.

The vocabulary is shared out among the speakers: the first ``words_each`` words are said by one voice, the
next by another. Like a real one it says too late who it was if it is told to, and its review corrects that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from echoic.engines.scripted import SHORTEST_RUN, STEPS
from echoic.session.sound import SOUND_RATE, Turn, Voices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from echoic.session.sound import Sound, SpeakerWishes

#: Seconds without speech that end a turn.
PAUSE = 0.3
#: Turns that a review remembers.
LONGEST_REVIEW = 1000


class ScriptedDiarizer:
    """Says whose words were drawn.

    Args:
        words_each: How many words of the vocabulary are one voice's.
        late: Seconds of its words that a voice must have said before ``listen`` takes it for a new speaker
            rather than the one before; ``review`` knows better.
        hooks: Called by the voice's number (0: that of the first words) when it is heard; may raise or block.
    """

    def __init__(
        self,
        words_each: int = 10,
        *,
        late: float = 0.0,
        hooks: Mapping[int, Callable[[], object]] = MappingProxyType({}),
    ) -> None:
        self._words_each, self._late, self._hooks = words_each, late, hooks

    @property
    def name(self) -> str:
        """``scripted``."""
        return "scripted"

    def listen(self, sounds: Sequence[Sound]) -> list[Voices]:
        """Return whose words were drawn into each piece.

        Raises:
            Exception: Whatever a hook raises.
        """
        return [self._listen(sound) for sound in sounds]

    def review(self, carry: object) -> tuple[Turn, ...]:
        """Return who spoke, as if each voice had been known from its first word."""
        if not isinstance(carry, _Carry):
            return ()
        ids = {voice: id_ for id_, voice in enumerate(carry.known)}
        return _joined(
            replace(turn, speaker=_bounded(ids.setdefault(turn.speaker, len(ids)), carry.wishes))
            for turn in carry.heard
        )

    def close(self) -> None:
        """Do nothing: there are no weights."""

    def _listen(self, sound: Sound) -> Voices:
        before = sound.carry if isinstance(sound.carry, _Carry) else _Carry()
        known, seconds, turns = list(before.known), dict(before.seconds), []
        heard = [*self._heard(sound)]
        for turn in heard:
            self._hooks.get(turn.speaker, _nothing)()
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.end - turn.start
            if turn.speaker not in known and (seconds[turn.speaker] >= self._late or not known):
                known.append(turn.speaker)
            new = known.index(turn.speaker) if turn.speaker in known else before.last
            before = replace(before, last=new)
            turns.append(replace(turn, speaker=_bounded(new, sound.wishes)))
        after = _Carry(
            tuple(known),
            MappingProxyType(seconds),
            before.last,
            (*before.heard, *heard)[-LONGEST_REVIEW:],
            sound.wishes,
        )
        return Voices(_joined(turns), after)

    def _heard(self, sound: Sound) -> Iterable[Turn]:
        """Yield the words' places, each with the number of its voice as the speaker."""
        levels = np.rint(np.abs(sound.audio) * STEPS).astype(np.intp)
        for begin, end in sound.speech:
            for first, last in _runs(levels[begin:end]):
                if levels[begin + first] and last - first >= SHORTEST_RUN * SOUND_RATE:
                    start = sound.start + (begin + first) / SOUND_RATE
                    voice = (int(levels[begin + first]) - 1) // self._words_each
                    yield Turn(start, sound.start + (begin + last) / SOUND_RATE, voice)


@dataclass(frozen=True, slots=True)
class _Carry:
    """The voices by their ids, seconds heard of each, the last id said, what was heard by voices."""

    known: tuple[int, ...] = ()
    seconds: Mapping[int, float] = field(default_factory=dict)
    last: int = 0
    heard: tuple[Turn, ...] = ()
    wishes: SpeakerWishes | None = None


def _bounded(speaker: int, wishes: SpeakerWishes | None) -> int:
    """Return the id, or the last that the client allows."""
    most = (wishes.count or wishes.most) if wishes else None
    return speaker if most is None else min(speaker, most - 1)


def _joined(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return the turns, those of one speaker without a pause between them as one."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start - joined[-1].end < PAUSE:
            joined[-1] = replace(joined[-1], end=turn.end)
        else:
            joined.append(turn)
    return tuple(joined)


def _runs(levels: NDArray[np.intp]) -> Iterable[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), levels.size]
    return [(start, end) for start, end in pairwise(edges) if end > start]


def _nothing() -> None:
    pass
