"""Decides when an engine that hangs or fails is reloaded, and when its model becomes unavailable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Engine, Hypothesis, Window
from echoic.scheduling.threads import Failure, attempt_call

#: Windows that fail in a row before the engine is tested with silence.
_FAILURES_BEFORE_TEST: Final = 2
_DEFAULT_SAMPLE_RATE: Final = 16_000
#: Seconds between two checks for threads that hang, at most.
_MAX_CHECK_INTERVAL: Final = 5.0


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """The limits of one model's engine."""

    load: Callable[[], Engine] | None = None
    """Loads the engine again. If it is None, the first incident makes the model unavailable."""
    decode_timeout: float = 120.0
    """Seconds after which a decode counts as hung."""
    load_timeout: float = 120.0
    """Seconds after which a load counts as hung."""
    reload_interval: float = 300.0
    """Seconds after a reload in which another incident makes the model unavailable."""

    @property
    def check_interval(self) -> float:
        """Seconds between two checks for threads that hang."""
        return min(self.decode_timeout / 4, _MAX_CHECK_INTERVAL)


class EngineHealth:
    """One model's engine and its health. Not thread-safe; times are by ``time.monotonic``.

    An incident is a decode that hangs, or an engine that fails whatever it is given. The first one asks for a
    reload. The next one within ``policy.reload_interval``, or a reload that fails, makes the model
    unavailable for good: only a restart of the process ends threads that hang in a library.

    Args:
        engine: Loaded.
        policy: Its limits.
    """

    def __init__(self, engine: Engine, policy: HealthPolicy) -> None:
        self.engine = engine
        self.needs_reload = False
        self.is_unavailable = False
        self.reloaded_at = -math.inf
        self._policy = policy
        self._consecutive_failures = 0

    @property
    def is_ready(self) -> bool:
        """Whether the engine may decode."""
        return not (self.needs_reload or self.is_unavailable)

    def record_outcomes(self, outcomes: Sequence[Hypothesis | DecodeFailed]) -> bool:
        """Count failures in a row; return whether the engine should be tested with silence."""
        if not all(isinstance(outcome, DecodeFailed) for outcome in outcomes):
            self._consecutive_failures = 0
            return False
        self._consecutive_failures += len(outcomes)
        if self._consecutive_failures < _FAILURES_BEFORE_TEST:
            return False
        self._consecutive_failures = 0
        return True

    def report_incident(self, now: float, *, can_reload: bool = True) -> None:
        """Ask for a reload, or make the model unavailable.

        Args:
            now: When it happened.
            can_reload: If False, the model becomes unavailable, even long after the last reload.
        """
        is_reload_allowed = now - self.reloaded_at >= self._policy.reload_interval
        if self._policy.load is None or not (can_reload and is_reload_allowed):
            self.is_unavailable = True
        else:
            self.needs_reload = True

    def finish_reload(self, engine: Engine | None, now: float) -> None:
        """Use the reloaded engine. None means that the reload failed: the model becomes unavailable."""
        self.needs_reload, self.reloaded_at, self._consecutive_failures = False, now, 0
        if engine is None:
            self.is_unavailable = True
        else:
            self.engine = engine


def can_decode_silence(engine: Engine) -> bool:
    """Return whether an engine decodes a second of silence.

    That tells an engine that fails whatever it is given from windows that are bad themselves.
    """
    rate = engine.requirements.sample_rate or _DEFAULT_SAMPLE_RATE
    silence = np.zeros(rate, np.float32)
    window = Window(silence, rate, 0.0, left_context=0, new_samples=rate, right_context=0, is_last=True)
    return not isinstance(attempt_call(lambda: engine.decode([window])), Failure)
