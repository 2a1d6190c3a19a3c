"""A limit for waits, and an event loop whose clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

#: Seconds; a machine that does much else may need them. Nothing is ever waited for until they are over.
WAIT_SECONDS: Final = 60.0


T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing that only time would bring."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout else timeout)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its clock begins at 0 and moves only when there is nothing else to do."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since it began."""
        return self._clock.now


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
