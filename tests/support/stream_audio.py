"""Streams audio to a server and collects the frames."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from echoic.client import connect
from echoic.protocol.frames import Error, Final, Partial, Warning  # noqa: A004  # the protocol's word

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import NDArray

    from echoic.client import Stream


@dataclass
class ReceivedFrames:
    """The frames of a stream, and the transcripts of its commits and its stop."""

    finals: list[Final] = field(default_factory=list)
    partials: list[Partial] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)
    transcripts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Texts of all finals, joined."""
        return " ".join(final.text for final in self.finals)

    async def read_frames(self, stream: Stream) -> None:
        """Collect frames until the stream ends."""
        async for frame in stream:
            if isinstance(frame, Final):
                self.finals.append(frame)
            elif isinstance(frame, Partial):
                self.partials.append(frame)
            elif isinstance(frame, Error):
                self.errors.append(frame)
            elif isinstance(frame, Warning):
                self.warnings.append(frame.code)


async def stream_audio(
    url: str,
    audio: NDArray[np.float32],
    before_piece: Callable[[int], Awaitable[None]] | None = None,
    *,
    piece_count: int = 50,
    **config: Any,  # noqa: ANN401  # what JSON may be
) -> ReceivedFrames:
    """Stream audio in pieces, commit halfway, and return the frames.

    Args:
        url: URL of the server.
        audio: float32, 16 kHz.
        before_piece: Awaited before each piece, with its number.
        piece_count: Number of pieces.
        **config: Settings of the stream; the default model is ``scripted``.
    """
    received = ReceivedFrames()
    async with connect(url, **{"model": "scripted", **config}) as stream:
        reading = asyncio.create_task(received.read_frames(stream))
        for number, piece in enumerate(np.array_split(audio, piece_count)):
            if before_piece is not None:
                await before_piece(number)
            await stream.send(piece)
            if number == piece_count // 2:
                received.transcripts.append(await stream.commit())
        received.transcripts.append(await stream.stop())
        await reading
    return received


def assert_in_order(finals: Sequence[Final]) -> None:
    """Assert that ids and times of finals go up, but for a reset, after which they begin again."""
    for before, after in pairwise(finals):
        if after.segment_id != 1:
            assert after.segment_id == before.segment_id + 1
            assert before.segment_end <= after.segment_start < after.segment_end
