"""A deque with a running total size, for queues bounded by what they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from echoic.protocol.frames import Audio

_T = TypeVar("_T")


class SizedQueue(Generic[_T]):
    """A deque with a running total size, O(1).

    Args:
        size: Returns the size of an item; must not change while the item is queued.
    """

    __slots__ = ("_items", "_size", "size", "sized_count")

    def __init__(self, size: Callable[[_T], int]) -> None:
        self._items: deque[_T] = deque()
        self._size = size
        #: Total size of all items.
        self.size = 0
        #: Number of items whose size is not 0.
        self.sized_count = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self._items)

    def __getitem__(self, index: int) -> _T:
        return self._items[index]

    @property
    def unsized_count(self) -> int:
        """Number of items of size 0."""
        return len(self._items) - self.sized_count

    def append(self, item: _T) -> None:
        """Add an item at the end."""
        self._update_size(item, 1)
        self._items.append(item)

    def appendleft(self, item: _T) -> None:
        """Add an item at the front."""
        self._update_size(item, 1)
        self._items.appendleft(item)

    def extend(self, items: Iterable[_T]) -> None:
        """Add items at the end."""
        for item in items:
            self.append(item)

    def pop(self) -> _T:
        """Remove and return the last item."""
        item = self._items.pop()
        self._update_size(item, -1)
        return item

    def popleft(self) -> _T:
        """Remove and return the first item."""
        item = self._items.popleft()
        self._update_size(item, -1)
        return item

    def retain_if(self, predicate: Callable[[_T], bool]) -> None:
        """Remove all items for which ``predicate`` is false."""
        kept = [item for item in self._items if predicate(item)]
        self._items.clear()
        self.size = self.sized_count = 0
        self.extend(kept)

    def _update_size(self, item: _T, sign: int) -> None:
        size = self._size(item)
        self.size += sign * size
        self.sized_count += sign * (size > 0)


def count_audio_bytes(frame: object) -> int:
    """Return the bytes of audio in a frame; 0 for other frames."""
    return len(frame.data) if isinstance(frame, Audio) else 0
