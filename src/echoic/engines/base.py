"""The Protocol of a recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.session.window import Window, WindowNeeds
    from echoic.text.hypothesis import Hypothesis


class Engine(Protocol):
    """A loaded recogniser. It holds weights and no session: what it must remember travels as ``carry``.

    ``decode`` is called from worker threads, several at once if ``max_concurrency`` allows it.
    """

    @property
    def name(self) -> str:
        """The model's own name, as the status endpoint lists it."""

    @property
    def requirements(self) -> WindowNeeds:
        """How it wants its windows."""

    @property
    def max_batch_size(self) -> int:
        """The most windows one ``decode`` should be given."""

    @property
    def max_concurrency(self) -> int:
        """The most ``decode`` calls that may run at the same time."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return one hypothesis for each window, in their order.

        A window's hypothesis must not depend on which other windows are in the call.

        Raises:
            Exception: Anything; the worker retries the windows one by one and turns what still
                fails into ``DecodeFailed`` for that window alone.
        """

    def close(self) -> None:
        """Release the weights."""
