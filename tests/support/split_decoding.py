"""Decodes a recording in parts with a stateful engine, as a stream does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoic.interfaces.engine import Engine, Token, Window


def decode_in_pieces(engine: Engine, window: Window, piece_count: int) -> list[tuple[str, float | None]]:
    """Return the committed tokens of a window decoded in parts: texts and starts in the window."""
    rate, size = window.sample_rate, window.audio.size
    left, right = (
        round(rate * s) for s in (engine.requirements.left_context, engine.requirements.right_context)
    )
    tokens: list[tuple[str, float | None]] = []
    state: object = None
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
            state=state,
        )
        [hypothesis] = engine.decode([piece])
        state = hypothesis.state
        tokens += to_absolute_times(hypothesis.committed, first / rate)
    return tokens


def to_absolute_times(tokens: tuple[Token, ...], offset: float = 0.0) -> list[tuple[str, float | None]]:
    """Return texts and starts of tokens, shifted by ``offset`` seconds."""
    return [(t.text, None if t.start is None else round(offset + t.start, 4)) for t in tokens]
