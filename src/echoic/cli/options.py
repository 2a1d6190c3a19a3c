"""Options shared by the commands, and how they print tables and errors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, NoReturn, get_type_hints

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--server",
        envvar="ECHOIC_URL",
        help="The server: ws://host:port, http://host:port or host:port.",
    ),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar="ECHOIC_API_KEY", show_default=False, help="The server's API key."),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The model; `echoic models` lists them.")]
LanguageOption = Annotated[
    str | None, typer.Option("--language", help="A hint to the model, such as en or de.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="ECHOIC_CONFIG", help="A file with settings.")
]
DiarizeOption = Annotated[bool, typer.Option("--diarize", help="Tell speakers apart.")]
SpeakersOption = Annotated[
    int | None, typer.Option("--speakers", min=1, help="How many speakers there are; implies --diarize.")
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        "--terms",
        help="A file with a term on each line (heard=meant is a replacement), or JSON with terms and "
        "replacements.",
    ),
]
InsightsOption = Annotated[bool, typer.Option("--insights", help="Also print notes of the talk.")]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", help="Write the transcript: .txt, .srt, .vtt or .json."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpeedOption = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="Playback speed; 1 is the pace of speech.")
]

#: The width of a line that is not printed to a terminal: rows are not folded.
_UNLIMITED_WIDTH = 100_000
#: Characters that could move a terminal's cursor, change its colours or ring its bell.
_CONTROL_CHARACTERS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n")})


class OutputFormat(StrEnum):
    """Formats of a transcript."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Options of a stream; each field is an option of the commands decorated with ``with_stream_options``."""

    model: ModelOption = None
    language: LanguageOption = None
    diarize: DiarizeOption = False
    speakers: SpeakersOption = None
    insights: InsightsOption = False
    vocabulary: VocabularyOption = None

    def to_config(self, *, with_word_times: bool, **more: object) -> dict[str, object]:
        """Return the keys of a ``config`` frame with these options.

        Args:
            with_word_times: Whether to request word times. Diarization always requests them.
            **more: Further keys.

        Raises:
            ValueError: The vocabulary file is invalid.
        """
        from echoic.cli.vocabulary import read_vocabulary

        diarization = build_diarization_config(self.speakers, enabled=self.diarize)
        return build_config(
            self.model,
            self.language,
            word_timestamps=with_word_times or diarization is not None or None,
            diarization=diarization,
            vocabulary=read_vocabulary(self.vocabulary) if self.vocabulary else None,
            insights={"enabled": True} if self.insights else None,
            **more,
        )


def with_stream_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``stream_options`` of a command by an option for each field of StreamOptions."""
    hints = get_type_hints(StreamOptions, include_extras=True)
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(StreamOptions)
    ]

    @wraps(command)
    def run_command(**values: object) -> None:
        chosen = {option.name: values.pop(option.name) for option in options}
        command(**values, stream_options=StreamOptions(**chosen))  # type: ignore[arg-type]  # converted by typer

    own = signature(command)
    others = [one for one in own.parameters.values() if one.name != "stream_options"]
    run_command.__signature__ = own.replace(parameters=[*others, *options])  # type: ignore[attr-defined]
    run_command.__annotations__ = {one.name: one.annotation for one in (*others, *options)}
    return run_command


def build_config(model: str | None, language: str | None, **more: object) -> dict[str, object]:
    """Return the keys of a ``config`` frame whose values are not None."""
    values = {"model": model, "language": language, **more}
    return {key: value for key, value in values.items() if value is not None}


def build_diarization_config(speakers: int | None, *, enabled: bool) -> dict[str, object] | None:
    """Return the ``diarization`` of a ``config`` frame, or None if it is disabled."""
    if speakers is not None:
        return {"enabled": True, "num_speakers": speakers}
    return {"enabled": True} if enabled else None


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str] | Sequence[str | Text]],
    *,
    unbroken: Sequence[str] = (),
) -> None:
    """Print a table to stdout; a terminal folds cells that are too wide, and none is truncated.

    Args:
        headings: The headings of the columns.
        rows: A cell for each column; markup in text is not interpreted.
        unbroken: The headings of columns whose words are folded only if a word is wider than the terminal.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for column, heading in enumerate(headings):
        longest = max((len(word) for row in cells for word in row[column].plain.split()), default=0)
        table.add_column(heading, overflow="fold", min_width=longest if heading in unbroken else None)
    for row in cells:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNLIMITED_WIDTH)
    console.print(table)


def print_error(message: str) -> None:
    """Print a sentence to stderr, after the program's name."""
    typer.echo(f"echoic: {strip_control_characters(message)}", err=True)


def exit_with_error(message: str, status: int = 1) -> NoReturn:
    """Print a sentence to stderr and exit.

    Raises:
        typer.Exit: Always, with ``status``.
    """
    print_error(message)
    raise typer.Exit(status)


def strip_control_characters(text: str) -> str:
    """Remove control characters except line feeds."""
    return text.translate(_CONTROL_CHARACTERS)
