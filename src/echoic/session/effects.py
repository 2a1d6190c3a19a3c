"""What a session asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.session.window import Window, WindowNeeds
    from echoic.wire.frames import ServerFrame


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The model a client asked for: its name and variant as the protocol resolves them."""

    model: str
    variant: str


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The model that a session gets.

    Attributes:
        name: The active model's own name.
        needs: How it wants its windows.
        fallback: Why another model than the one asked for answers (a sentence), or None.
        languages: The languages it knows, lower-case and without region; empty: any, or nobody says.
    """

    name: str
    needs: WindowNeeds
    fallback: str | None = None
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to the client, in the order of the effects."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Find the model; answer by ``Session.opened`` with a ``ModelAnswer`` or a ``ModelUnavailable``."""

    request: ModelRequest


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode a window; answer by ``Session.finished(key, …)`` with a ``Hypothesis`` or a ``DecodeFailed``.

    Attributes:
        key: Unique within the session.
        window: What to decode.
        model: The name of the model, as in ``ModelAnswer.name``.
        final: A final waits for it; False: a partial, after all finals.
    """

    key: int
    window: Window
    model: str
    final: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """These decodes are overtaken: whichever has not begun need not; answers to them are ignored."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Again:
    """There is audio left to work through: call ``Session.proceed`` once others had their turn."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once everything before this effect is sent. Nothing follows it."""

    code: int
    reason: str = ""


Effect = Send | OpenModel | Decode | Drop | Again | Close
