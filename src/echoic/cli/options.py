"""Options that several commands share, and how a command fails."""

from pathlib import Path
from typing import Annotated, NoReturn

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Speed = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="How many times as fast as it was spoken.")
]


def complain(message: str) -> None:
    """Print a sentence about something that went wrong to stderr."""
    typer.echo(f"echoic: {message}", err=True)


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


def diarization_of(speakers: int | None, *, wanted: bool) -> dict[str, object] | None:
    """Return the ``diarization`` of a ``config`` frame, or None."""
    if speakers is not None:
        return {"enabled": True, "num_speakers": speakers}
    return {"enabled": True} if wanted else None
