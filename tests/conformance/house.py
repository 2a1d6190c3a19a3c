"""The models of the servers that conformance cases talk to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from echoic.engines.registry import Registry, Seat
from echoic.engines.scripted import PLAIN, UTTERANCE, Scripted
from echoic.errors import Missing
from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, Token
from support.patience import PATIENCE
from support.speakers import Answering, Timed, saying

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.engines.base import Engine
    from echoic.session.window import Window

WITH_TIMES = WindowNeeds("carried", left_context=0.5, times=True)


class Gate:
    """Where the model ``gated`` stops at the word "alpha" until ``open`` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def wait(self) -> None:
        """Let a decode wait."""
        self.reached.set()
        assert self.open.wait(PATIENCE)


def registry(gate: Gate) -> Registry:
    """Return the models; ``scripted`` answers where one cannot be had."""
    return Registry(
        [
            _seat("parakeet-standard", Scripted, "parakeet"),
            _seat("parakeet-mlx", Scripted, "parakeet", "mlx"),
            Seat(
                "parakeet-onnx",
                "parakeet",
                "onnx",
                lambda: Missing("Its weights are missing.", "get it"),
                Scripted,
            ),
            _seat("whisper", lambda: Scripted(UTTERANCE)),
            _seat("scripted", Scripted),
            _seat("plain", lambda: Scripted(PLAIN)),
            _seat("timed", Timed),
            Seat(
                "with-times",
                "with-times",
                "standard",
                lambda: None,
                lambda: Scripted(WITH_TIMES),
                word_timestamps=True,
            ),
            _seat("foo", lambda: saying("foo")),
            _seat("recital", lambda: Answering(_recite)),
            _seat("brittle", lambda: Scripted(hooks={"bravo": _refuse})),
            _seat("shaky", Shaky),
            _seat("gated", lambda: Scripted(hooks={"alpha": gate.wait})),
            _seat("faulty", lambda: Answering(_wrong)),
        ],
        default="scripted",
    )


class Shaky(Answering):
    """Fails at every window once."""

    def __init__(self) -> None:
        super().__init__(self._second_time)
        self._seen: set[float] = set()

    def _second_time(self, window: Window) -> str:
        if window.start not in self._seen:
            self._seen.add(window.start)
            _refuse()
        return "second"


def _seat(name: str, load: Callable[[], Engine], model: str = "", variant: str = "standard") -> Seat:
    return Seat(name, model or name, variant, lambda: None, load)


def _recite(window: Window) -> str:
    return {0.0: "One, two three", 1.5: "two, THREE four", 3.0: "four four"}.get(window.start, "")


def _refuse() -> None:
    raise RuntimeError("said in confidence")


def _wrong(_: Window) -> Hypothesis:
    return Hypothesis(volatile=(Token(None),))  # type: ignore[arg-type]  # the fault
