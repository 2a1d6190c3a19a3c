"""Who says the new passages: by their windows' vectors, by who the voice was before, and never two as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from echoic.speakers.memory import NOBODY
from echoic.speakers.passages import FRAMES
from echoic.speakers.turns import best_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.speakers.identity import SpeakerRules
    from echoic.speakers.memory import Groups
    from echoic.speakers.passages import Passage
    from echoic.speakers.regions import Span

#: A frame of a voice that is nobody's.
NONE: Final = -1
#: Frames of a slot, the grid on which a voice may change its speaker.
_SLOT = 20
#: What it costs to be somebody who speaks at the same time as another voice: more than any likeness.
_TAKEN = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A passage with what its windows sound like.

    Attributes:
        passage: The passage.
        windows: As ``Passage.windows`` yields them.
        vectors: One of length 1 for each: float32, shape ``(windows, size)``.
    """

    passage: Passage
    windows: Sequence[tuple[int, int, int]]
    vectors: NDArray[np.float32]

    def seconds(self, place: int) -> float:
        """Return how much a window says that is new."""
        later = [window[2] for window in self.windows[place + 1 :]] or [len(self.passage.alone)]
        return (later[0] - self.windows[place][2]) / FRAMES

    def span(self, window: tuple[int, int, int], origin: float) -> Span:
        """Return where a window begins and ends, in seconds; the scene begins at ``origin``."""
        first, last, _ = window
        alone = self.passage.alone
        return origin + int(alone[first]) / FRAMES, origin + (int(alone[last - 1]) + 1) / FRAMES

    def alike(self, voices: NDArray[np.float32], slots: Sequence[NDArray[np.intp]]) -> NDArray[np.float32]:
        """Return how much each slot sounds like each speaker: by its windows, the nearest the most."""
        if not self.windows:
            return np.zeros((len(slots), len(voices)), np.float32)
        edges = np.array([self.span(window, 0.0) for window in self.windows]) * FRAMES
        sizes = np.array([last - first for first, last, _ in self.windows])
        places = np.array([slot.mean() for slot in slots])[:, np.newaxis]
        weights = np.maximum(1 - np.abs(places - edges.mean(axis=1)) / (sizes / 2), 0) + 1e-3
        shares = weights / weights.sum(axis=1, keepdims=True)
        scores: NDArray[np.float32] = shares @ (self.vectors @ voices.T)
        return scores


def speakers_of(
    groups: Groups,
    heard: Sequence[Heard],
    active: NDArray[np.bool_],
    history: Sequence[tuple[slice, int]],
    rules: SpeakerRules,
) -> NDArray[np.intp]:
    """Return who each voice is in the new frames.

    Args:
        groups: With their speakers.
        heard: The new passages.
        active: Who speaks in each frame, shape ``(frames, voices)``.
        history: Frames before the new ones, and who was heard there.
        rules: What a change of speakers costs.

    Returns:
        Shape ``(frames, voices)``; ``NONE`` where nobody knows, and in the frames that are not new.
    """
    who = np.full(active.shape, NONE)
    ids = np.unique(groups.speakers[groups.speakers != NOBODY])
    voices = np.stack([groups.sums[groups.speakers == speaker].sum(axis=0) for speaker in ids])
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    for one in sorted(heard, key=lambda one: one.passage.known - len(one.passage.alone)):
        frames, voice = one.passage.frames, one.passage.voice
        before = _before(active[:, voice], history)
        if before is None and one.windows and history:
            before = history[-1][1]
        if before is None and not one.windows:
            continue
        slots = np.array_split(frames, max(1, round(len(frames) / _SLOT)))
        taken = _TAKEN * np.array(
            [[(who[slot] == speaker).any(axis=1).mean() for speaker in ids] for slot in slots]
        )
        scores = one.alike(voices, slots) - np.where(taken > _TAKEN * _OFTEN, taken, 0.0)
        path = best_path(scores, rules.switch, None if before is None else int(np.searchsorted(ids, before)))
        for slot, place, score in zip(slots, path, scores, strict=True):
            if score[place] > -1:
                who[slot, voice] = ids[place]
    return who


#: The share of a slot in which two may be one: turns touch.
_OFTEN = 0.3


def _before(active: NDArray[np.bool_], history: Sequence[tuple[slice, int]]) -> int | None:
    """Return who a voice was when it was last heard, or None: nobody knows."""
    return next((speaker for where, speaker in reversed(history) if active[where].any()), None)
