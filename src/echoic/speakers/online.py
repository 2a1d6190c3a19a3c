"""Live diarization: windows of speech are grouped as they come, at the same cost in every minute.

Each piece of sound is looked at in short windows. Their vectors join a bounded number of groups, which are
clustered anew for every piece; a cluster takes the id of the speaker most of it belonged to before. So a
decision that turns out wrong is put right for what follows, and by ``review`` for what was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import SOUND_RATE, Voices
from echoic.speakers.identity import SpeakerRules, named, settled
from echoic.speakers.memory import NOBODY, Memory, nothing
from echoic.speakers.regions import WindowRules, bits, looks, scene_of
from echoic.speakers.turns import best_path, joined_turns, slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.session.sound import Sound, Turn
    from echoic.speakers.embed import Embedder
    from echoic.speakers.regions import Look, Scene

#: Seconds that are looked at together at most; more would cost more than in proportion.
_BIT = 2.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How the diarizer decides."""

    windows: WindowRules = field(default_factory=WindowRules)
    speakers: SpeakerRules = field(default_factory=SpeakerRules)


class OnlineDiarizer:
    """Tells speakers apart as they speak.

    Args:
        embedder: The model of voices.
        rules: How it decides.
        name: What it is called.
    """

    def __init__(self, embedder: Embedder, rules: Rules | None = None, name: str = "embedded") -> None:
        self._embedder = embedder
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
        times = carry.stretches
        spans = zip(times.starts.tolist(), times.ends.tolist(), strict=True)
        who = speakers[times.groups].tolist()
        return joined_turns(zip(spans, who, strict=True), self._rules.windows.pause)

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
        spans = (((turn.start, turn.end), turn.speaker) for turn in turns)
        return Voices(joined_turns(spans, self._rules.windows.pause), carry)

    def _hear(self, sound: Sound) -> Voices:
        before = sound.carry if isinstance(sound.carry, Memory) else nothing()
        scene = scene_of(sound, before.scene)
        regions = looks(scene, self._rules.windows)
        memory = replace(before, wishes=sound.wishes)
        turns: tuple[Turn, ...] = ()
        if seen := [look for region in regions for look in region]:
            vectors = self._vectors(scene, seen)
            memory = self._remember(memory, seen, vectors)
            turns, last = self._turns(memory, regions, vectors)
            memory = replace(memory, last=last).bounded()
        return Voices(turns, replace(memory, scene=scene.after(self._rules.windows.length)))

    def _vectors(self, scene: Scene, seen: Sequence[Look]) -> NDArray[np.float32]:
        places = [
            (
                round((look.start - scene.origin) * SOUND_RATE),
                round((look.end - scene.origin) * SOUND_RATE),
            )
            for look in seen
        ]
        return self._embedder.embed(scene.audio, places)

    def _remember(self, memory: Memory, seen: Sequence[Look], vectors: NDArray[np.float32]) -> Memory:
        """Return the memory with the windows in it: the long ones as groups, the others by the nearest."""
        long = np.array([look.end - look.start >= self._rules.windows.shortest for look in seen])
        if not len(memory.groups):
            long[:] = True
        seconds = np.array([look.new[1] - look.new[0] for look in seen], np.float32)
        first = len(memory.groups)
        groups = memory.groups.added(vectors[long], seconds[long])
        means = groups.sums / groups.seconds[:, np.newaxis]
        places = np.where(long, first + np.cumsum(long) - 1, (vectors @ means.T).argmax(axis=1))
        spans = [(look.begin, look.new[1]) for look in seen]
        stretches = memory.stretches.added(spans, places.tolist())
        return named(replace(memory, groups=groups, stretches=stretches), self._rules.speakers)

    def _turns(
        self, memory: Memory, regions: Sequence[Sequence[Look]], vectors: NDArray[np.float32]
    ) -> tuple[tuple[Turn, ...], int]:
        """Return who speaks in the new piece, and who speaks last."""
        groups, rules = memory.groups, self._rules
        ids = np.unique(groups.speakers[groups.speakers != NOBODY])
        voices = np.stack([groups.sums[groups.speakers == speaker].sum(axis=0) for speaker in ids])
        voices /= np.linalg.norm(voices, axis=1, keepdims=True)
        alike = vectors @ voices.T
        at, last, spans, who = 0, memory.last, [], []
        for region in regions:
            grid = slots(region, rules.windows.slot)
            scores = _scores(grid, region, alike[at : at + len(region)])
            before = int(np.flatnonzero(ids == last)[0]) if last in ids else None
            path = best_path(scores, rules.speakers.switch, before)
            spans += grid
            who += [int(ids[place]) for place in path]
            last, at = who[-1], at + len(region)
        return joined_turns(zip(spans, who, strict=True), rules.windows.pause), last


def _scores(
    grid: Sequence[tuple[float, float]], region: Sequence[Look], alike: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how much each slot sounds like each speaker: its windows, the nearer their middle the more."""
    places = np.array([(begin + end) / 2 for begin, end in grid])[:, np.newaxis]
    starts, ends = (np.array([getattr(look, edge) for look in region]) for edge in ("start", "end"))
    away = np.abs(places - (starts + ends) / 2) / ((ends - starts) / 2)
    weights = np.maximum(1 - away, 0) + 1e-3
    scores: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)) @ alike
    return scores
