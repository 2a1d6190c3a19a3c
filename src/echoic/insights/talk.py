"""What was said since the last commit, as much of it as a provider reads at once."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from echoic.insights.base import Said

#: Bytes that a final takes beside its words: its speaker, a line's end.
_BESIDE: Final = 16


class Talk:
    """Keeps the newest finals, and knows which of them no insight has seen.

    Args:
        room: Bytes of UTF-8 that are kept; one final is kept however long it is.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._said: deque[Said] = deque()
        self._size = 0
        self._settled = 0

    @property
    def all(self) -> tuple[Said, ...]:
        """Everything that is kept, in order."""
        return tuple(self._said)

    @property
    def has_news(self) -> bool:
        """Whether there is a final that no insight has seen."""
        return bool(self._said) and self._said[-1].segment_id > self._settled

    def add(self, said: Said) -> None:
        """Keep a final, and forget the oldest that there is no room for."""
        self._said.append(said)
        self._size += _size(said)
        while self._size > self._room and len(self._said) > 1:
            self._size -= _size(self._said.popleft())

    def window(self, least: int) -> tuple[Said, ...]:
        """Return the finals that no insight has seen, and before them as many as make ``least``."""
        news = sum(said.segment_id > self._settled for said in self._said)
        skipped = max(len(self._said) - max(news, least), 0)
        return tuple(islice(self._said, skipped, None))

    def settle(self, segment_id: int) -> None:
        """Note that an insight has seen everything up to this final."""
        self._settled = max(self._settled, segment_id)

    def clear(self) -> None:
        """Forget everything."""
        self._said.clear()
        self._size = self._settled = 0


def _size(said: Said) -> int:
    return len(said.text.encode()) + len(said.speaker or "") + _BESIDE
