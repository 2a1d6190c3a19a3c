"""What a session is doing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.wire.frames import Error


class State(Enum):
    """What the session is doing."""

    LIVE = auto()  # hears and answers
    BUSY = auto()  # waits for a model, or has audio left to work through; what comes queues
    ENDING = auto()  # delivers what was heard, then closes
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class End:
    """The driver's wish to end, which waits like a frame while the session is busy."""

    code: int
    error: Error | None = None
