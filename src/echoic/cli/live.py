"""A stream at the pace of speech, and how it looks while it runs."""

import asyncio
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from echoic.cli.notices import Notices
from echoic.cli.options import complain
from echoic.cli.talk import Talk, converse
from echoic.client import Received
from echoic.wire.frames import Final, FullTranscript, Partial

#: Seconds of audio in a message: what a microphone's driver gives.
PIECE = 0.1
#: Characters after which the view begins a new paragraph even without the end of a sentence.
_PARAGRAPH = 240
_SENTENCE_ENDS = (".", "?", "!")
#: Seconds by which the place of a final may miss the place of a piece: rounding on the wire.
_ROUNDING = 1e-5


class View(AbstractContextManager["View"], Protocol):
    """Shows a stream's frames as they come."""

    def show(self, frame: Received) -> None:
        """Show a partial or a final."""

    def tell(self, sentence: str) -> None:
        """Show what went wrong."""


class PlainView:
    """A line for each final on stdout, for what is no terminal; warnings and errors on stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, frame: Received) -> None:
        """Print a final."""
        if isinstance(frame, Final):
            sys.stdout.write(frame.text + "\n")
            sys.stdout.flush()

    def tell(self, sentence: str) -> None:
        """Print what went wrong."""
        complain(sentence)


class LiveView:
    """Paragraphs on a terminal: what is final stands, what may still change is dim and moves on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=12)
        self._start = self._heard = 0.0
        self._paragraph = self._partial = ""

    def __enter__(self) -> Self:
        self._live.start()
        self._update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._partial = ""
        self._end_paragraph()
        self._live.stop()

    def show(self, frame: Received) -> None:
        """Take a frame into the picture."""
        if isinstance(frame, Partial):
            self._partial, self._heard = frame.text, frame.segment_end
        elif isinstance(frame, Final):
            self._add(frame)
        self._update()

    def tell(self, sentence: str) -> None:
        """Print what went wrong above what is being said."""
        self._console.print(Text(sentence, style="yellow"))

    def _add(self, final: Final) -> None:
        if not self._paragraph:
            self._start = final.segment_start
        self._paragraph = f"{self._paragraph} {final.text}".strip()
        self._partial, self._heard = "", final.segment_end
        if self._paragraph.endswith(_SENTENCE_ENDS) or len(self._paragraph) > _PARAGRAPH:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        if self._paragraph:
            line, self._paragraph = _line(self._start, self._paragraph), ""
            self._update()  # what is printed now stands above the view, which must not show it too
            self._console.print(line)

    def _update(self) -> None:
        line = _line(self._start if self._paragraph else self._heard, self._paragraph)
        line.append(f" {self._partial}" if self._paragraph else self._partial, style="dim italic")
        self._live.update(line)


@dataclass(slots=True)
class Heard:
    """What came of a stream.

    Attributes:
        transcript: The full transcript.
        delays: For each final, seconds from when its segment's last sample was sent until it was here.
        interrupted: True if Ctrl-C ended it.
    """

    transcript: str = ""
    delays: list[float] = field(default_factory=list)
    interrupted: bool = False


class _Clock:
    """When each second of the audio was sent."""

    def __init__(self) -> None:
        self._sent: list[tuple[float, float]] = []

    def note(self, seconds: float) -> None:
        """Note that the audio up to ``seconds`` is sent."""
        self._sent.append((seconds, time.perf_counter()))

    def since(self, seconds: float) -> float:
        """Return the time since the audio at ``seconds`` was sent."""
        place = bisect_left(self._sent, (seconds - _ROUNDING, 0.0))
        return time.perf_counter() - self._sent[min(place, len(self._sent) - 1)][1]


def view_for_stdout() -> View:
    """Return the live view on a terminal, else the one that prints a line for each final."""
    return LiveView(Console()) if sys.stdout.isatty() else PlainView()


async def listen(
    address: str,
    pieces: Iterator[NDArray[np.float32]],
    view: View,
    *,
    speed: float = 1.0,
    key: str | None = None,
    config: dict[str, object] | None = None,
) -> Heard:
    """Stream at the pace of speech; the first Ctrl-C has what was heard delivered, the second ends at once.

    Args:
        address: The URL of the stream endpoint.
        pieces: float32, mono, -1..1, ``PIECE`` seconds each, at the configured rate.
        view: Shows the frames.
        speed: How many times as fast as it was spoken.
        key: The server's key.
        config: Keys of the ``config`` frame.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded.
    """
    heard, clock, notices = Heard(), _Clock(), Notices(config or {})

    def show(frame: Received) -> None:
        if isinstance(frame, Final):
            heard.delays.append(clock.since(frame.segment_end))
        elif isinstance(frame, FullTranscript):
            heard.transcript = frame.text
        if (sentence := notices.sentence(frame)) is not None:
            view.tell(sentence)
        view.show(frame)

    talk = Talk(pieces, show, clock.note, speed, key, config or {})
    with _interruptible() as enough, view:
        await converse(address, talk, enough)
    heard.interrupted = enough.is_set()
    return heard


@contextmanager
def _interruptible() -> Iterator[asyncio.Event]:
    """Yield an event that the first Ctrl-C sets; the next does what it did before."""
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        loop.call_soon_threadsafe(enough.set)

    signal.signal(signal.SIGINT, stop)
    try:
        yield enough
    finally:
        signal.signal(signal.SIGINT, before)


def _line(start: float, text: str) -> Text:
    return Text.assemble((f"{int(start) // 60:3}:{int(start) % 60:02}  ", "cyan"), text)
