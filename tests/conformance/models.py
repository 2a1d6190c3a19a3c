"""Models of the servers in conformance cases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import LOCAL_AGREEMENT, OVERLAP, ScriptedEngine
from echoic.errors import Unavailable
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token
from support.simple_engines import FunctionEngine, TimedScripted, build_fixed_engine
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.interfaces.engine import Engine, Window

TIMED_REQUIREMENTS = EngineRequirements("stateful", left_context=0.5, has_word_times=True)


class DecodeGate:
    """Blocks decodes of the word "alpha" by the model ``gated`` until ``released`` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.reached = threading.Event()

    def wait(self) -> None:
        """Block until released."""
        self.reached.set()
        assert self.released.wait(WAIT_SECONDS)


def build_case_registry(gate: DecodeGate) -> Registry:
    """Build the models; ``scripted`` is the fallback."""
    return Registry(
        [
            _build_spec("parakeet-standard", ScriptedEngine, "parakeet"),
            _build_spec("parakeet-mlx", ScriptedEngine, "parakeet", "mlx"),
            ModelSpec(
                "parakeet-onnx",
                "parakeet",
                "onnx",
                lambda: Unavailable("Its weights are missing.", "get it"),
                ScriptedEngine,
            ),
            _build_spec("whisper", lambda: ScriptedEngine(LOCAL_AGREEMENT)),
            _build_spec("scripted", ScriptedEngine),
            _build_spec("plain", lambda: ScriptedEngine(OVERLAP)),
            _build_spec("timed", TimedScripted),
            ModelSpec(
                "with-times",
                "with-times",
                "standard",
                lambda: None,
                lambda: ScriptedEngine(TIMED_REQUIREMENTS),
                word_timestamps=True,
            ),
            _build_spec("foo", lambda: build_fixed_engine("foo")),
            _build_spec("recital", lambda: FunctionEngine(_answer_recital)),
            _build_spec("brittle", lambda: ScriptedEngine(word_hooks={"bravo": _raise_failure})),
            _build_spec("shaky", FailsOnceEngine),
            _build_spec("gated", lambda: ScriptedEngine(word_hooks={"alpha": gate.wait})),
            _build_spec("faulty", lambda: FunctionEngine(_answer_wrongly)),
        ],
        default="scripted",
    )


class FailsOnceEngine(FunctionEngine):
    """Fails the first decode of every window."""

    def __init__(self) -> None:
        super().__init__(self._answer_second_time)
        self._seen_starts: set[float] = set()

    def _answer_second_time(self, window: Window) -> str:
        if window.start not in self._seen_starts:
            self._seen_starts.add(window.start)
            _raise_failure()
        return "second"


def _build_spec(
    name: str, load: Callable[[], Engine], model: str = "", variant: str = "standard"
) -> ModelSpec:
    return ModelSpec(name, model or name, variant, lambda: None, load)


def _answer_recital(window: Window) -> str:
    return {0.0: "One, two three", 1.5: "two, THREE four", 3.0: "four four"}.get(window.start, "")


def _raise_failure() -> None:
    raise RuntimeError("said in confidence")


def _answer_wrongly(_: Window) -> Hypothesis:
    return Hypothesis(volatile=(Token(None),))  # type: ignore[arg-type]  # the fault
