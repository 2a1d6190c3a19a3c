"""What waits in a session, counted as it comes and goes: nobody walks along a line to measure it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from echoic.wire.frames import Audio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")


class Line(Generic[_T]):
    """Items in order, and how much they are.

    Args:
        size: How much an item counts, in whole units; asked again when it goes.
    """

    __slots__ = ("_items", "_size", "size", "weighty")

    def __init__(self, size: Callable[[_T], int]) -> None:
        self._items: deque[_T] = deque()
        self._size = size
        #: Of all items.
        self.size = 0
        #: Items that count at all.
        self.weighty = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self._items)

    def __getitem__(self, place: int) -> _T:
        return self._items[place]

    @property
    def weightless(self) -> int:
        """Items that count nothing."""
        return len(self._items) - self.weighty

    def append(self, item: _T) -> None:
        """Add one at the end."""
        self._count(item, 1)
        self._items.append(item)

    def appendleft(self, item: _T) -> None:
        """Add one before all others."""
        self._count(item, 1)
        self._items.appendleft(item)

    def extend(self, items: Iterable[_T]) -> None:
        """Add several at the end."""
        for item in items:
            self.append(item)

    def pop(self) -> _T:
        """Take the last."""
        item = self._items.pop()
        self._count(item, -1)
        return item

    def popleft(self) -> _T:
        """Take the first."""
        item = self._items.popleft()
        self._count(item, -1)
        return item

    def keep(self, wanted: Callable[[_T], bool]) -> None:
        """Forget all others."""
        kept = [item for item in self._items if wanted(item)]
        self._items.clear()
        self.size = self.weighty = 0
        self.extend(kept)

    def _count(self, item: _T, sign: int) -> None:
        size = self._size(item)
        self.size += sign * size
        self.weighty += sign * (size > 0)


def audio_bytes(frame: object) -> int:
    """Return how many bytes of audio a frame holds."""
    return len(frame.data) if isinstance(frame, Audio) else 0
