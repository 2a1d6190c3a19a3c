"""Simple engines for tests of the session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from echoic.engines.scripted import ScriptedEngine
from echoic.interfaces.engine import EngineRequirements, Hypothesis, build_text_hypothesis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoic.interfaces.engine import Window


class FunctionEngine:
    """Decodes each window with a function.

    Args:
        answer: Returns text or a hypothesis for a window; may raise.
        requirements: None: one window per segment, at the client's rate.
    """

    max_batch_size = 1
    max_concurrency = 1
    name = "answering"

    def __init__(
        self, answer: Callable[[Window], str | Hypothesis], requirements: EngineRequirements | None = None
    ) -> None:
        self._answer = answer
        self.requirements = requirements or EngineRequirements("overlap", sample_rate=None)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the hypothesis of each window."""
        answers = [self._answer(window) for window in windows]
        return [build_text_hypothesis(a) if isinstance(a, str) else a for a in answers]

    def close(self) -> None:
        """Do nothing."""


class TimedScripted(ScriptedEngine):
    """Decodes each window without state, with word times; emits cut-off words too.

    Args:
        sample_rate: Samples per second; None: the client's rate.
    """

    def __init__(self, sample_rate: int | None = 16_000) -> None:
        super().__init__()
        self._requirements = EngineRequirements("overlap", sample_rate=sample_rate, has_word_times=True)

    @property
    def requirements(self) -> EngineRequirements:
        """Whole windows, with times."""
        return self._requirements

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words of each window, all of them volatile."""
        whole = [
            replace(w, left_context=0, new_samples=len(w.audio), right_context=0, state=None) for w in windows
        ]
        return [Hypothesis(volatile=heard.committed) for heard in super().decode(whole)]


def build_fixed_engine(text: str) -> FunctionEngine:
    """Return an engine that returns the same text for every window."""
    return FunctionEngine(lambda _: text)
