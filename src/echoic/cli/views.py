"""How a stream looks while it runs."""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from echoic.cli.options import print_error, strip_control_characters
from echoic.client import Final, Insight, Partial, ReceivedFrame
from echoic.export.formats import render_insight
from echoic.export.turns import collect_turns, render_turns

#: Characters after which the view begins a new paragraph even without the end of a sentence.
_MAX_PARAGRAPH = 240
_SENTENCE_ENDS = (".", "?", "!")
#: The speakers' colours, one after the other.
_SPEAKER_COLOURS = ("green", "magenta", "blue", "yellow", "cyan", "red")


class StreamView(AbstractContextManager["StreamView"], Protocol):
    """Shows a stream's frames as they come."""

    def show_frame(self, frame: ReceivedFrame) -> None:
        """Show a partial, a final, an insight."""

    def show_message(self, sentence: str) -> None:
        """Show a sentence about the stream itself."""


class PlainView:
    """A line for each final on stdout, for what is no terminal; what is told goes to stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show_frame(self, frame: ReceivedFrame) -> None:
        """Print a final, a line for each who speaks in it, or what the talk came down to."""
        if isinstance(frame, Final):
            typer.echo(
                "".join(f"{strip_control_characters(turn)}\n" for turn in render_turns([frame])), nl=False
            )
        elif isinstance(frame, Insight) and frame.stage == "final" and (notes := render_insight(frame)):
            typer.echo(f"\n{strip_control_characters(notes)}", nl=False)

    def show_message(self, sentence: str) -> None:
        """Print a sentence about the stream itself."""
        print_error(sentence)


class LiveView:
    """Paragraphs on a terminal: what is final stands, what may still change is dim and moves on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._display = Live(console=console, transient=True, refresh_per_second=12)
        self._paragraph_start = self._heard_seconds = 0.0
        self._paragraph = self._partial = ""
        self._speaker: str | None = None
        self._known_speakers: list[str] = []

    def __enter__(self) -> Self:
        self._display.start()
        self._redraw_paragraph()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._partial = ""
        self._end_paragraph()
        self._display.stop()

    def show_frame(self, frame: ReceivedFrame) -> None:
        """Take a frame into the picture."""
        if isinstance(frame, Partial):
            self._partial, self._heard_seconds = strip_control_characters(frame.text), frame.segment_end
        elif isinstance(frame, Final):
            self._partial, self._heard_seconds = "", frame.segment_end
            for speaker, text in collect_turns([frame]):
                self._append_text(speaker, strip_control_characters(text), frame.segment_start)
        elif isinstance(frame, Insight) and (notes := render_insight(frame)):
            self._end_paragraph()
            style = "" if frame.stage == "final" else "dim"
            self._console.print(Text(f"\n{strip_control_characters(notes)}", style=style))
        self._redraw_paragraph()

    def show_message(self, sentence: str) -> None:
        """Print a sentence above what is being said."""
        self._console.print(Text(strip_control_characters(sentence), style="yellow"))

    def _append_text(self, speaker: str | None, text: str, start: float) -> None:
        if speaker != self._speaker:
            self._end_paragraph()
            self._speaker = speaker
        if not self._paragraph:
            self._paragraph_start = start
        self._paragraph = f"{self._paragraph} {text}".strip()
        if self._paragraph.endswith(_SENTENCE_ENDS) or len(self._paragraph) > _MAX_PARAGRAPH:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        if self._paragraph:
            line, self._paragraph = self._render_line(self._paragraph_start, self._paragraph), ""
            self._redraw_paragraph()  # what is printed now stands above the view, which must not show it too
            self._console.print(line)

    def _redraw_paragraph(self) -> None:
        if self._paragraph:
            line = self._render_line(self._paragraph_start, self._paragraph)
            line.append(f" {self._partial}", style="dim italic")
        else:
            line = _render_clock(self._heard_seconds).append(self._partial, style="dim italic")
        # As much of its end as there is room for: what is newest is read.
        rows = line.wrap(self._console, self._console.width)
        self._display.update(Text("\n").join(rows[-max(1, self._console.height - 1) :]))

    def _render_line(self, start: float, text: str) -> Text:
        line = _render_clock(start)
        if self._speaker:
            if self._speaker not in self._known_speakers:
                self._known_speakers.append(self._speaker)
            colour = _SPEAKER_COLOURS[self._known_speakers.index(self._speaker) % len(_SPEAKER_COLOURS)]
            line.append(f"{self._speaker}: ", style=colour)
        return line.append(text)


def build_stdout_view() -> StreamView:
    """Return the live view on a terminal, else the one that prints a line for each final."""
    return LiveView(Console()) if sys.stdout and sys.stdout.isatty() else PlainView()


def _render_clock(seconds: float) -> Text:
    return Text.assemble((f"{int(seconds) // 60:3}:{int(seconds) % 60:02}  ", "cyan"))
