"""How a stream looks while it runs."""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from echoic.cli.options import complain, harmless
from echoic.client import Final, Insight, Partial, Received
from echoic.subtitles import outline
from echoic.turns import spoken, turns

#: Characters after which the view begins a new paragraph even without the end of a sentence.
_PARAGRAPH = 240
_SENTENCE_ENDS = (".", "?", "!")
#: The speakers' colours, one after the other.
_COLOURS = ("green", "magenta", "blue", "yellow", "cyan", "red")


class View(AbstractContextManager["View"], Protocol):
    """Shows a stream's frames as they come."""

    def show(self, frame: Received) -> None:
        """Show a partial, a final, an insight."""

    def tell(self, sentence: str) -> None:
        """Show a sentence about the stream itself."""


class PlainView:
    """A line for each final on stdout, for what is no terminal; what is told goes to stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, frame: Received) -> None:
        """Print a final, a line for each who speaks in it, or what the talk came down to."""
        if isinstance(frame, Final):
            typer.echo("".join(f"{harmless(turn)}\n" for turn in turns([frame])), nl=False)
        elif isinstance(frame, Insight) and frame.stage == "final" and (notes := outline(frame)):
            typer.echo(f"\n{harmless(notes)}", nl=False)

    def tell(self, sentence: str) -> None:
        """Print a sentence about the stream itself."""
        complain(sentence)


class LiveView:
    """Paragraphs on a terminal: what is final stands, what may still change is dim and moves on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=12)
        self._start = self._heard = 0.0
        self._paragraph = self._partial = ""
        self._speaker: str | None = None
        self._known: list[str] = []

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
            self._partial, self._heard = harmless(frame.text), frame.segment_end
        elif isinstance(frame, Final):
            self._partial, self._heard = "", frame.segment_end
            for speaker, text in spoken([frame]):
                self._add(speaker, harmless(text), frame.segment_start)
        elif isinstance(frame, Insight) and (notes := outline(frame)):
            self._end_paragraph()
            style = "" if frame.stage == "final" else "dim"
            self._console.print(Text(f"\n{harmless(notes)}", style=style))
        self._update()

    def tell(self, sentence: str) -> None:
        """Print a sentence above what is being said."""
        self._console.print(Text(harmless(sentence), style="yellow"))

    def _add(self, speaker: str | None, text: str, start: float) -> None:
        if speaker != self._speaker:
            self._end_paragraph()
            self._speaker = speaker
        if not self._paragraph:
            self._start = start
        self._paragraph = f"{self._paragraph} {text}".strip()
        if self._paragraph.endswith(_SENTENCE_ENDS) or len(self._paragraph) > _PARAGRAPH:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        if self._paragraph:
            line, self._paragraph = self._line(self._start, self._paragraph), ""
            self._update()  # what is printed now stands above the view, which must not show it too
            self._console.print(line)

    def _update(self) -> None:
        if self._paragraph:
            line = self._line(self._start, self._paragraph)
            line.append(f" {self._partial}", style="dim italic")
        else:
            line = _clock(self._heard).append(self._partial, style="dim italic")
        # As much of its end as there is room for: what is newest is read.
        rows = line.wrap(self._console, self._console.width)
        self._live.update(Text("\n").join(rows[-max(1, self._console.height - 1) :]))

    def _line(self, start: float, text: str) -> Text:
        line = _clock(start)
        if self._speaker:
            if self._speaker not in self._known:
                self._known.append(self._speaker)
            colour = _COLOURS[self._known.index(self._speaker) % len(_COLOURS)]
            line.append(f"{self._speaker}: ", style=colour)
        return line.append(text)


def view_for_stdout() -> View:
    """Return the live view on a terminal, else the one that prints a line for each final."""
    return LiveView(Console()) if sys.stdout and sys.stdout.isatty() else PlainView()


def _clock(seconds: float) -> Text:
    return Text.assemble((f"{int(seconds) // 60:3}:{int(seconds) % 60:02}  ", "cyan"))
