"""A recording decoded in pieces, as a stream would, by an engine that carries its state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.interfaces.engine import Engine, Token, Window


def decode_in_pieces(engine: Engine, window: Window, piece_count: int) -> list[tuple[str, float | None]]:
    """Return what ``engine`` commits of ``window`` in as many pieces: texts and starts in the window."""
    rate, size = window.sample_rate, window.audio.size
    left, right = (
        round(rate * s) for s in (engine.requirements.left_context, engine.requirements.right_context)
    )
    heard: list[tuple[str, float | None]] = []
    carry: object = None
    for number in range(piece_count):
        start, end = size * number // piece_count, size * (number + 1) // piece_count
        first, last = max(0, start - left), min(size, end + right)
        piece = replace(
            window,
            audio=window.audio[first:last],
            start=first / rate,
            left_context=start - first,
            new_samples=end - start,
            right_context=last - end,
            is_last=number == piece_count - 1,
            state=carry,
        )
        [hypothesis] = engine.decode([piece])
        carry = hypothesis.state
        heard += to_absolute_times(hypothesis.committed, first / rate)
    return heard


def to_absolute_times(tokens: tuple[Token, ...], offset: float = 0.0) -> list[tuple[str, float | None]]:
    """Return texts and starts of tokens, counted from ``offset`` seconds before their window."""
    return [(t.text, None if t.start is None else round(offset + t.start, 4)) for t in tokens]
