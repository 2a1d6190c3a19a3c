"""Engines for tests of the session: each answers in one simple way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, hypothesis_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoic.session.window import Window


class Answering:
    """Answers each window by a function of it.

    Args:
        answer: Text or a hypothesis for a window; may raise.
        needs: How windows are cut; one window a segment, at the client's rate, if None.
    """

    lanes = 1
    threads = 1
    name = "answering"

    def __init__(
        self, answer: Callable[[Window], str | Hypothesis], needs: WindowNeeds | None = None
    ) -> None:
        self._answer = answer
        self.needs = needs or WindowNeeds("plain", sample_rate=None)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the answers."""
        answers = [self._answer(window) for window in windows]
        return [hypothesis_of(a) if isinstance(a, str) else a for a in answers]

    def close(self) -> None:
        """Have nothing to release."""


def saying(text: str) -> Answering:
    """Return an engine that says the same of every window."""
    return Answering(lambda _: text)
