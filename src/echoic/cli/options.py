"""How the command line prints a table: what stands in it can be copied."""

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

#: Characters of a line where the output is no terminal, which has no edge to fold at.
_UNLIMITED_WIDTH = 100_000


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str] | Sequence[str | Text]],
    *,
    unbroken: Sequence[str] = (),
) -> None:
    """Print a table; cells that are too wide for a terminal go on in the next line, none is cut off.

    Args:
        headings: Of the columns.
        rows: A cell for each column; text is printed as it stands.
        unbroken: Headings of columns whose words are folded only if the terminal is narrower than they are.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        longest = max((len(word) for row in cells for word in row[place].plain.split()), default=0)
        table.add_column(heading, overflow="fold", min_width=longest if heading in unbroken else None)
    for row in cells:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNLIMITED_WIDTH)
    console.print(table)


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
        help="A file of terms, a line each (heard=meant replaces), or JSON with terms and replacements.",
    ),
]
InsightsOption = Annotated[bool, typer.Option("--insights", help="Notes of the talk as well.")]
SaveOption = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", help="Write the transcript: .txt, .srt, .vtt or .json."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpeedOption = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="How many times as fast as it was spoken.")
]


#: What a text may not do to a terminal: move its cursor, colour it, ring its bell.
_CONTROL_CHARACTERS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n")})


class OutputFormat(StrEnum):
    """Formats of a transcript."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def print_error(message: str) -> None:
    """Print a sentence about something that went wrong to stderr."""
    typer.echo(f"echoic: {strip_control_characters(message)}", err=True)


def strip_control_characters(text: str) -> str:
    """Return a text without what a terminal obeys; lines stay."""
    return text.translate(_CONTROL_CHARACTERS)


def exit_with_error(message: str, status: int = 1) -> NoReturn:
    """Print a sentence to stderr and leave.

    Raises:
        typer.Exit: Always, with ``status``.
    """
    print_error(message)
    raise typer.Exit(status)


def build_config(model: str | None, language: str | None, **more: object) -> dict[str, object]:
    """Return the keys of a ``to_config`` frame that are set."""
    values = {"model": model, "language": language, **more}
    return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream is asked for: each field is an option of the commands that are ``with_stream_options``."""

    model: ModelOption = None
    language: LanguageOption = None
    diarize: DiarizeOption = False
    speakers: SpeakersOption = None
    insights: InsightsOption = False
    vocabulary: VocabularyOption = None

    def to_config(self, *, with_word_times: bool, **more: object) -> dict[str, object]:
        """Return them as keys of a ``to_config`` frame.

        Args:
            with_word_times: Whether words are to have times; where speakers are told apart they have to.
            **more: Further keys.

        Raises:
            ValueError: The file of the vocabulary cannot be used.
        """
        from echoic.cli.vocabulary import read_vocabulary

        apart = build_diarization_config(self.speakers, enabled=self.diarize)
        return build_config(
            self.model,
            self.language,
            word_timestamps=with_word_times or apart is not None or None,
            diarization=apart,
            vocabulary=read_vocabulary(self.vocabulary) if self.vocabulary else None,
            insights={"enabled": True} if self.insights else None,
            **more,
        )


def with_stream_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of ``StreamOptions`` in place of its keyword ``wishes``."""
    hints = get_type_hints(StreamOptions, include_extras=True)
    wished = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(StreamOptions)
    ]

    @wraps(command)
    def run(**given: object) -> None:
        chosen = {one.name: given.pop(one.name) for one in wished}
        command(**given, wishes=StreamOptions(**chosen))  # type: ignore[arg-type]  # typer made them of these types

    own = signature(command)
    others = [one for one in own.parameters.values() if one.name != "wishes"]
    run.__signature__ = own.replace(parameters=[*others, *wished])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*others, *wished)}
    return run


def build_diarization_config(speakers: int | None, *, enabled: bool) -> dict[str, object] | None:
    """Return the ``diarization`` of a ``to_config`` frame, or None."""
    if speakers is not None:
        return {"enabled": True, "num_speakers": speakers}
    return {"enabled": True} if enabled else None
