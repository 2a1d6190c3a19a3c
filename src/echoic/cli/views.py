"""Views of a running stream: live captions on a terminal, or a line for each final."""

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

#: Characters after which a new paragraph begins even within a sentence.
_MAX_PARAGRAPH = 240
_SENTENCE_ENDS = (".", "?", "!")
#: The colours of the speakers, in the order in which they appear.
_SPEAKER_COLOURS = ("green", "magenta", "blue", "yellow", "cyan", "red")


class StreamView(AbstractContextManager["StreamView"], Protocol):
    """Shows the frames of a stream."""

    def show_frame(self, frame: ReceivedFrame) -> None:
        """Show a frame; kinds that the view does not display are ignored."""

    def show_message(self, sentence: str) -> None:
        """Show a message about the stream."""


class PlainView:
    """Prints a line for each final to stdout, and messages to stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show_frame(self, frame: ReceivedFrame) -> None:
        """Print a final, with a line for each speaker turn, or the insights at the end."""
        if isinstance(frame, Final):
            typer.echo(
                "".join(f"{strip_control_characters(turn)}\n" for turn in render_turns([frame])), nl=False
            )
        elif isinstance(frame, Insight) and frame.stage == "final" and (notes := render_insight(frame)):
            typer.echo(f"\n{strip_control_characters(notes)}", nl=False)

    def show_message(self, sentence: str) -> None:
        """Print a message about the stream."""
        print_error(sentence)


class LiveView:
    """Shows paragraphs on a terminal: final text stays, the partial is dim and updated in place."""

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
        """Update the display with a frame."""
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
        """Print a message above the current paragraph."""
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
            self._redraw_paragraph()  # the printed line stands above the display, which must not repeat it
            self._console.print(line)

    def _redraw_paragraph(self) -> None:
        if self._paragraph:
            line = self._render_line(self._paragraph_start, self._paragraph)
            line.append(f" {self._partial}", style="dim italic")
        else:
            line = _render_clock(self._heard_seconds).append(self._partial, style="dim italic")
        # The last rows that fit: the newest text is read.
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
    """Return a live view if stdout is a terminal, else a plain view."""
    return LiveView(Console()) if sys.stdout and sys.stdout.isatty() else PlainView()


def _render_clock(seconds: float) -> Text:
    return Text.assemble((f"{int(seconds) // 60:3}:{int(seconds) % 60:02}  ", "cyan"))
