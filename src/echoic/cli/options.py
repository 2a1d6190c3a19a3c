"""Options that several commands share, and how a command fails."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, NoReturn, get_type_hints

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--server",
        envvar="ECHOIC_URL",
        help="The server: ws://host:port, http://host:port or host:port.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="ECHOIC_API_KEY", show_default=False, help="The server's API key."),
]
Model = Annotated[str | None, typer.Option("--model", help="The model; `echoic models` lists them.")]
Language = Annotated[str | None, typer.Option("--language", help="A hint to the model, such as en or de.")]
Config = Annotated[
    Path | None, typer.Option("--config", envvar="ECHOIC_CONFIG", help="A file with settings.")
]
Diarize = Annotated[bool, typer.Option("--diarize", help="Tell speakers apart.")]
Speakers = Annotated[
    int | None, typer.Option("--speakers", min=1, help="How many speakers there are; implies --diarize.")
]
Vocabulary = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        "--terms",
        help="A file of terms, a line each (heard=meant replaces), or JSON with terms and replacements.",
    ),
]
Insights = Annotated[bool, typer.Option("--insights", help="Notes of the talk as well.")]
SaveTo = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", help="Write the transcript: .txt, .srt, .vtt or .json."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Speed = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="How many times as fast as it was spoken.")
]


#: What a text may not do to a terminal: move its cursor, colour it, ring its bell.
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n")})


class Form(StrEnum):
    """Formats of a transcript."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def complain(message: str) -> None:
    """Print a sentence about something that went wrong to stderr."""
    typer.echo(f"echoic: {harmless(message)}", err=True)


def harmless(text: str) -> str:
    """Return a text without what a terminal obeys; lines stay."""
    return text.translate(_CONTROLS)


def give_up(message: str, status: int = 1) -> NoReturn:
    """Print a sentence to stderr and leave.

    Raises:
        typer.Exit: Always, with ``status``.
    """
    complain(message)
    raise typer.Exit(status)


def config_of(model: str | None, language: str | None, **more: object) -> dict[str, object]:
    """Return the keys of a ``config`` frame that are set."""
    values = {"model": model, "language": language, **more}
    return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a stream is asked for: each field is an option of the commands that are ``with_wishes``."""

    model: Model = None
    language: Language = None
    diarize: Diarize = False
    speakers: Speakers = None
    insights: Insights = False
    vocabulary: Vocabulary = None

    def config(self, *, timed: bool, **more: object) -> dict[str, object]:
        """Return them as keys of a ``config`` frame.

        Args:
            timed: Whether words are to have times; where speakers are told apart they have to.
            **more: Further keys.

        Raises:
            ValueError: The file of the vocabulary cannot be used.
        """
        from echoic.cli.wording import read_vocabulary

        apart = diarization_of(self.speakers, wanted=self.diarize)
        return config_of(
            self.model,
            self.language,
            word_timestamps=timed or apart is not None or None,
            diarization=apart,
            vocabulary=read_vocabulary(self.vocabulary) if self.vocabulary else None,
            insights={"enabled": True} if self.insights else None,
            **more,
        )


def with_wishes(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of ``Wishes`` in place of its keyword ``wishes``."""
    hints = get_type_hints(Wishes, include_extras=True)
    wished = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Wishes)
    ]

    @wraps(command)
    def run(**given: object) -> None:
        chosen = {one.name: given.pop(one.name) for one in wished}
        command(**given, wishes=Wishes(**chosen))  # type: ignore[arg-type]  # typer made them of these types

    own = signature(command)
    others = [one for one in own.parameters.values() if one.name != "wishes"]
    run.__signature__ = own.replace(parameters=[*others, *wished])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*others, *wished)}
    return run


def diarization_of(speakers: int | None, *, wanted: bool) -> dict[str, object] | None:
    """Return the ``diarization`` of a ``config`` frame, or None."""
    if speakers is not None:
        return {"enabled": True, "num_speakers": speakers}
    return {"enabled": True} if wanted else None
