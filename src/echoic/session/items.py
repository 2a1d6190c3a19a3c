"""What waits in a session to be delivered, in its order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.session.stretch import Plan
from echoic.units import to_seconds

if TYPE_CHECKING:
    from echoic.session.listening import Listening
    from echoic.session.sound import Turn
    from echoic.wire.frames import ServerFrame

#: In a second; audio that waits is counted in whole ones.
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """A frame that waits for its turn behind earlier segments."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class TranscriptDue:
    """The transcript is due here; unless ``always``, only if there is one."""

    always: bool


@dataclass(slots=True, eq=False)
class Summary:
    """Who spoke is due here, once the whole session was looked at again; no ``turns``: it stays as it is."""

    listening: Listening
    key: int | None = None
    answered: bool = False
    turns: tuple[Turn, ...] | None = None


@dataclass(frozen=True, slots=True)
class Afresh:
    """The session starts afresh here."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The connection closes here."""

    code: int


#: A segment, or what comes between segments.
Item = Plan | Reply | TranscriptDue | Summary | Afresh | Goodbye


def microseconds(item: Item) -> int:
    """Return how much audio waits with an item; never 0 for a plan, whose decodes are waited for."""
    if not isinstance(item, Plan):
        return 0
    seconds = to_seconds(item.span.end - item.span.start, item.stretch.segments.rate)
    return max(1, round(MICROSECONDS * seconds))
