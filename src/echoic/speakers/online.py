"""Live diarization: windows of speech are grouped as they come, at the same cost in every minute.

The last seconds are heard anew with each piece of sound: a model of turns says which voices speak where in
them, and each is looked at in short windows in which it speaks alone. Their vectors join a bounded number of
groups, which are clustered anew for every piece; a cluster takes the id of the speaker most of it belonged to
before. So a decision that turns out wrong is put right for what follows, and by ``review`` for what was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import Turn, Voices
from echoic.speakers.assign import NONE, Heard, speakers_of
from echoic.speakers.fbank import HOP
from echoic.speakers.identity import SpeakerRules, named, settled
from echoic.speakers.memory import NOBODY, Memory, nothing
from echoic.speakers.passages import FRAMES, WindowRules, passages, runs, voices_in
from echoic.speakers.placing import placed, voices_of
from echoic.speakers.regions import bits, scene_of
from echoic.speakers.turns import joined_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.session.sound import Sound
    from echoic.speakers.embed import Embedder
    from echoic.speakers.passages import Passage
    from echoic.speakers.regions import Scene, Span
    from echoic.speakers.segment import Segmenter

#: Seconds that are looked at together at most; more would cost more than in proportion.
_BIT = 2.0
#: Seconds that are heard anew with each piece: at most, at least, and for each second of the piece, so that
#: short pieces cost no more. Shorter ones than a window's hop wait for more.
_REACH, _LEAST_REACH, _SHARE = 10.0, 2.0, 6.7
#: Seconds of a voice in a scene from which it counts as one.
_SURE = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How the diarizer decides."""

    windows: WindowRules = field(default_factory=WindowRules)
    speakers: SpeakerRules = field(default_factory=SpeakerRules)


class OnlineDiarizer:
    """Tells speakers apart as they speak.

    Args:
        embedder: The model of voices.
        segmenter: The model of turns; None: wherever there is speech, one speaks.
        rules: How it decides.
        name: What it is called.
    """

    def __init__(
        self,
        embedder: Embedder,
        segmenter: Segmenter | None = None,
        rules: Rules | None = None,
        name: str = "embedded",
    ) -> None:
        self._embedder = embedder
        self._segmenter = segmenter
        self._rules = rules or Rules()
        self._name = name

    @property
    def name(self) -> str:
        """What it is called; ``embedded`` unless told otherwise."""
        return self._name

    def listen(self, sounds: Sequence[Sound]) -> list[Voices]:
        """Return who speaks in each piece of sound."""
        return [self._listen(sound) for sound in sounds]

    def review(self, carry: object) -> tuple[Turn, ...]:
        """Return who spoke when, after all that was heard; of a long session less finely than ``listen``."""
        if not isinstance(carry, Memory) or not len(carry.stretches):
            return ()
        speakers = settled(carry, self._rules.speakers)
        return joined_turns(_spans(carry, speakers, 0.0), self._rules.windows.pause)

    def close(self) -> None:
        """Do nothing: the weights go with the last reference to the embedder."""

    def _listen(self, sound: Sound) -> Voices:
        """Return who speaks in a piece of sound, a long one bit by bit."""
        turns: list[Turn] = []
        carry = sound.carry
        for bit in bits(sound, _BIT):
            voices = self._hear(replace(bit, carry=carry))
            turns += voices.turns
            carry = voices.carry
        turns.sort(key=lambda turn: turn.start)
        spans = (((turn.start, turn.end), turn.speaker) for turn in turns)
        return Voices(joined_turns(spans, self._rules.windows.pause), carry)

    def _hear(self, sound: Sound) -> Voices:
        before = sound.carry if isinstance(sound.carry, Memory) else nothing()
        whole = scene_of(sound, before.past)
        memory = replace(before, wishes=sound.wishes)
        new = whole.end - whole.start
        if whole.has_news and new < self._rules.windows.hop and not sound.last:
            return Voices((), replace(memory, past=whole.after(_REACH, waits=True)))
        turns: tuple[Turn, ...] = ()
        if whole.has_news:
            memory, turns = self._learn(memory, whole.within(min(_REACH, max(_LEAST_REACH, _SHARE * new))))
        return Voices(turns, replace(memory.bounded(), past=whole.after(_REACH)))

    def _learn(self, memory: Memory, scene: Scene) -> tuple[Memory, tuple[Turn, ...]]:
        """Return the memory with what the new piece says, and who speaks in that."""
        rules = self._rules.windows
        active = voices_in(scene, self._segmenter, rules.padding)
        start = round((scene.start - scene.origin) * FRAMES)
        heard = [self._look(scene, passage) for passage in passages(active, start, rules.pause)]
        if not sum(len(one.vectors) for one in heard) and not len(memory.groups):
            return memory, ()
        memory = self._remember(memory, scene, heard)
        memory = named(memory, self._rules.speakers, _sure_voices(memory, scene, active))
        memory = replace(memory, stretches=placed(memory, scene, active, rules.shortest))
        return memory, self._turns(memory, scene, active, heard)

    def _look(self, scene: Scene, passage: Passage) -> Heard:
        """Return a passage with the vectors of its windows."""
        windows = [*passage.windows(self._rules.windows)]
        if not windows:
            return Heard(passage, (), np.zeros((0, 0), np.float32))
        padded = np.pad(scene.audio, (0, -scene.audio.size % HOP))
        alone = padded.reshape(-1, HOP)[passage.alone].reshape(-1)
        vectors = self._embedder.embed(alone, [(first * HOP, last * HOP) for first, last, _ in windows])
        return Heard(passage, windows, vectors)

    def _remember(self, memory: Memory, scene: Scene, heard: Sequence[Heard]) -> Memory:
        """Return the memory with the windows in it: the long ones as groups, the others by the nearest."""
        seen = [(one, window) for one in heard for window in one.windows]
        if not seen:
            return memory
        vectors = np.concatenate([one.vectors for one in heard if one.windows])
        shortest = self._rules.windows.shortest * FRAMES
        long = np.array([last - first >= shortest for _, (first, last, _) in seen])
        if not len(memory.groups):
            long[:] = True
        new = [one.seconds(place) for one in heard for place in range(len(one.windows))]
        first = len(memory.groups)
        groups = memory.groups.added(vectors[long], np.array(new, np.float32)[long])
        means = groups.sums / groups.seconds[:, np.newaxis]
        places = np.where(long, first + np.cumsum(long) - 1, (vectors @ means.T).argmax(axis=1))
        spans = [one.span(window, scene.origin) for one, window in seen]
        views = memory.views.added(scene.origin, spans, places)
        return replace(memory, groups=groups, views=views)

    def _turns(
        self, memory: Memory, scene: Scene, active: NDArray[np.bool_], heard: Sequence[Heard]
    ) -> tuple[Turn, ...]:
        """Return who speaks in the new piece."""
        said = _spans(memory, memory.groups.speakers, scene.origin)
        before = [(span, who) for span, who in said if span[0] < scene.start]
        rules = self._rules
        who = speakers_of(memory.groups, heard, active, _history(before, scene, len(active)), rules.speakers)
        spans = [((start, min(end, scene.start)), one) for (start, end), one in before]
        for speaker in np.unique(who[who != NONE]).tolist():
            for begin, end in runs((who == speaker).any(axis=1)):
                start = max(scene.start, scene.origin + begin / FRAMES)
                if (until := min(scene.end, scene.origin + end / FRAMES)) > start:
                    spans.append(((start, until), speaker))
        turns = joined_turns(sorted(spans), rules.windows.pause)
        return tuple(
            replace(turn, start=max(turn.start, scene.start)) for turn in turns if turn.end > scene.start
        )


def _sure_voices(memory: Memory, scene: Scene, active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the voice that each view is, where that speaks alone for long enough to be told from others."""
    alone = (active & (active.sum(axis=1, keepdims=True) == 1)).sum(axis=0)
    voices = voices_of(memory, scene, active)
    return np.where((voices != NOBODY) & (alone[voices] >= _SURE * FRAMES), voices, NOBODY)


def _spans(memory: Memory, speakers: NDArray[np.intp], since: float) -> list[tuple[Span, int]]:
    """Return when each speaker was heard since then, in order of their starts."""
    times = memory.stretches
    late = times.ends > since
    spans = zip(times.starts[late].tolist(), times.ends[late].tolist(), strict=True)
    found = zip(spans, speakers[times.groups[late]].tolist(), strict=True)
    return [(span, speaker) for span, speaker in found if speaker != NOBODY]


def _history(before: Sequence[tuple[Span, int]], scene: Scene, frames: int) -> list[tuple[slice, int]]:
    """Return who was heard in which frames of the scene before its new piece."""
    found = []
    for (start, end), speaker in before:
        first, last = (round((at - scene.origin) * FRAMES) for at in (start, min(end, scene.start)))
        found.append((slice(max(0, first), min(max(0, last), frames)), speaker))
    return found
