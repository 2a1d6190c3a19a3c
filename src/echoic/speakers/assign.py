"""Who says the new passages: by their windows' vectors, by who the voice was before, and never two as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from echoic.speakers.memory import UNKNOWN
from echoic.speakers.passages import FRAMES_PER_SECOND
from echoic.speakers.turns import find_best_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.speakers.identity import SpeakerClusteringConfig
    from echoic.speakers.memory import EmbeddingGroups
    from echoic.speakers.passages import VoiceSegment
    from echoic.speakers.regions import TimeSpan

#: A frame of a voice that is nobody's.
NO_SPEAKER: Final = -1
#: Frames of a slot, the grid on which a voice may change its speaker.
_DECISION_FRAMES = 20
#: What it costs to be somebody who speaks at the same time as another voice: more than any likeness.
_OVERLAP_PENALTY = 5.0


@dataclass(frozen=True, slots=True)
class EmbeddedSegment:
    """A passage with what its windows sound like.

    Attributes:
        segment: The passage.
        windows: As ``Passage.windows`` yields them.
        embeddings: One of length 1 for each: float32, shape ``(windows, size)``.
    """

    segment: VoiceSegment
    windows: Sequence[tuple[int, int, int]]
    embeddings: NDArray[np.float32]

    def count_new_seconds(self, index: int) -> float:
        """Return how much a window says that is new."""
        later = [window[2] for window in self.windows[index + 1 :]] or [len(self.segment.solo_frames)]
        return (later[0] - self.windows[index][2]) / FRAMES_PER_SECOND

    def get_window_span(self, window: tuple[int, int, int], origin: float) -> TimeSpan:
        """Return where a window begins and ends, in seconds; the scene begins at ``origin``."""
        first, last, _ = window
        alone = self.segment.solo_frames
        return origin + int(alone[first]) / FRAMES_PER_SECOND, origin + (
            int(alone[last - 1]) + 1
        ) / FRAMES_PER_SECOND

    def score_speakers(
        self, centroids: NDArray[np.float32], slots: Sequence[NDArray[np.intp]]
    ) -> NDArray[np.float32]:
        """Return how much each slot sounds like each speaker: by its windows, the nearest the most."""
        if not self.windows:
            return np.zeros((len(slots), len(centroids)), np.float32)
        edges = np.array([self.get_window_span(window, 0.0) for window in self.windows]) * FRAMES_PER_SECOND
        sizes = np.array([last - first for first, last, _ in self.windows])
        places = np.array([slot.mean() for slot in slots])[:, np.newaxis]
        weights = np.maximum(1 - np.abs(places - edges.mean(axis=1)) / (sizes / 2), 0) + 1e-3
        shares = weights / weights.sum(axis=1, keepdims=True)
        scores: NDArray[np.float32] = shares @ (self.embeddings @ centroids.T)
        return scores


def assign_frame_speakers(
    groups: EmbeddingGroups,
    segments: Sequence[EmbeddedSegment],
    active: NDArray[np.bool_],
    history: Sequence[tuple[slice, int]],
    config: SpeakerClusteringConfig,
) -> NDArray[np.intp]:
    """Return who each voice is in the new frames.

    Args:
        groups: With their speakers.
        segments: The new passages.
        active: Who speaks in each frame, shape ``(frames, voices)``.
        history: Frames before the new ones, and who was heard there.
        config: What a change of speakers costs.

    Returns:
        Shape ``(frames, voices)``; ``NO_SPEAKER`` where nobody knows, and in the frames that are not new.
    """
    who = np.full(active.shape, NO_SPEAKER)
    ids = np.unique(groups.speakers[groups.speakers != UNKNOWN])
    voices = np.stack([groups.sums[groups.speakers == speaker].sum(axis=0) for speaker in ids])
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    for one in sorted(segments, key=lambda one: one.segment.old_solo_count - len(one.segment.solo_frames)):
        frames, voice = one.segment.new_frames, one.segment.voice
        before = _find_previous_speaker(active[:, voice], history)
        if before is None and one.windows and history:
            before = history[-1][1]
        if before is None and not one.windows:
            continue
        slots = np.array_split(frames, max(1, round(len(frames) / _DECISION_FRAMES)))
        taken = _OVERLAP_PENALTY * np.array(
            [[(who[slot] == speaker).any(axis=1).mean() for speaker in ids] for slot in slots]
        )
        scores = one.score_speakers(voices, slots) - np.where(
            taken > _OVERLAP_PENALTY * _MIN_OVERLAP_SHARE, taken, 0.0
        )
        path = find_best_path(
            scores, config.switch_penalty, None if before is None else int(np.searchsorted(ids, before))
        )
        for slot, place, score in zip(slots, path, scores, strict=True):
            if score[place] > -1:
                who[slot, voice] = ids[place]
    return who


#: The share of a slot in which two may be one: turns touch.
_MIN_OVERLAP_SHARE = 0.3


def _find_previous_speaker(active: NDArray[np.bool_], history: Sequence[tuple[slice, int]]) -> int | None:
    """Return who a voice was when it was last heard, or None: nobody knows."""
    return next((speaker for where, speaker in reversed(history) if active[where].any()), None)
