"""A recording decoded in pieces, as a stream would, by an engine that carries its state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.engines.base import Engine
    from echoic.session.window import Window
    from echoic.text.hypothesis import Token


def in_pieces(engine: Engine, window: Window, pieces: int) -> list[tuple[str, float | None]]:
    """Return what ``engine`` commits of ``window`` in as many pieces: texts and starts in the window."""
    rate, size = window.sample_rate, window.audio.size
    left, right = (round(rate * s) for s in (engine.needs.left_context, engine.needs.right_context))
    heard: list[tuple[str, float | None]] = []
    carry: object = None
    for number in range(pieces):
        start, end = size * number // pieces, size * (number + 1) // pieces
        first, last = max(0, start - left), min(size, end + right)
        piece = replace(
            window,
            audio=window.audio[first:last],
            start=first / rate,
            left=start - first,
            new=end - start,
            right=last - end,
            last=number == pieces - 1,
            carry=carry,
        )
        [hypothesis] = engine.decode([piece])
        carry = hypothesis.carry
        heard += in_place(hypothesis.committed, first / rate)
    return heard


def in_place(tokens: tuple[Token, ...], begins: float = 0.0) -> list[tuple[str, float | None]]:
    """Return texts and starts of tokens, counted from ``begins`` seconds before their window."""
    return [(t.text, None if t.start is None else round(begins + t.start, 4)) for t in tokens]
