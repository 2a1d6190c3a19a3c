"""What an engine says of a window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of text; a leading space marks the start of a word.

    Attributes:
        text: The piece, e.g. ``" hel"`` then ``"lo"``.
        start: Seconds from the window's first sample, or None where the engine gives no times.
        duration: Seconds, or None.
        confidence: 0..1, or None.
    """

    text: str
    start: float | None = None
    duration: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An engine's answer for one window.

    Attributes:
        committed: Tokens that will not change, whatever follows (engines that carry state).
        volatile: Tokens that later audio may change; everything, for engines without state.
        carry: The decoder's state after ``committed``, opaque to everyone but its engine.
    """

    committed: tuple[Token, ...] = ()
    volatile: tuple[Token, ...] = ()
    carry: object = None


def hypothesis_of(text: str) -> Hypothesis:
    """Return the hypothesis of an engine that answers with bare text: volatile words, no times."""
    return Hypothesis(volatile=tuple(Token(" " + word) for word in text.split()))
