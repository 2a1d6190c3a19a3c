"""What was said since the last commit, as much of it as a provider reads at once."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from echoic.insights.base import TranscriptSegment

#: Bytes that a final takes beside its words: its speaker, a line's end.
_OVERHEAD_BYTES: Final = 16


class TranscriptWindow:
    """Keeps the newest finals, and knows which of them no insight has seen.

    Args:
        max_bytes: Bytes of UTF-8 that are kept; one final is kept however long it is.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._segments: deque[TranscriptSegment] = deque()
        self._size_bytes = 0
        self._seen_segment_id = 0

    @property
    def segments(self) -> tuple[TranscriptSegment, ...]:
        """Everything that is kept, in order."""
        return tuple(self._segments)

    @property
    def has_unseen(self) -> bool:
        """Whether there is a final that no insight has seen."""
        return bool(self._segments) and self._segments[-1].segment_id > self._seen_segment_id

    def append_segment(self, segment: TranscriptSegment) -> None:
        """Keep a final, and forget the oldest that there is no room for."""
        self._segments.append(segment)
        self._size_bytes += _measure_segment(segment)
        while self._size_bytes > self._max_bytes and len(self._segments) > 1:
            self._size_bytes -= _measure_segment(self._segments.popleft())

    def select_window(self, min_segments: int) -> tuple[TranscriptSegment, ...]:
        """Return the finals that no insight has seen, and before them as many as make ``min_segments``."""
        news = sum(said.segment_id > self._seen_segment_id for said in self._segments)
        skipped = max(len(self._segments) - max(news, min_segments), 0)
        return tuple(islice(self._segments, skipped, None))

    def mark_seen(self, segment_id: int) -> None:
        """Note that an insight has seen everything up to this final."""
        self._seen_segment_id = max(self._seen_segment_id, segment_id)

    def clear(self) -> None:
        """Forget everything."""
        self._segments.clear()
        self._size_bytes = self._seen_segment_id = 0


def _measure_segment(segment: TranscriptSegment) -> int:
    return len(segment.text.encode()) + len(segment.speaker or "") + _OVERHEAD_BYTES
