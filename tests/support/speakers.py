"""Engines for tests of the session: each answers in one simple way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from echoic.engines.scripted import Scripted
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


class Timed(Scripted):
    """Says each window's words anew, with their times: what is drawn, also where an edge cuts it.

    Args:
        sample_rate: Samples per second it wants; None: whatever the client sends.
    """

    def __init__(self, sample_rate: int | None = 16_000) -> None:
        super().__init__()
        self._own = WindowNeeds("plain", sample_rate=sample_rate, times=True)

    @property
    def needs(self) -> WindowNeeds:
        """Whole windows, with times."""
        return self._own

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words of each window, all of them volatile."""
        whole = [replace(w, left=0, new=len(w.audio), right=0, carry=None) for w in windows]
        return [Hypothesis(volatile=heard.committed) for heard in super().decode(whole)]


def saying(text: str) -> Answering:
    """Return an engine that says the same of every window."""
    return Answering(lambda _: text)
