"""``echoic stream``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import Key, Language, Model, Speed, Url, config_of, give_up

if TYPE_CHECKING:
    from echoic.client import ServerError

#: What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


def stream(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio or video file.")],
    *,
    url: Url = None,
    speed: Speed = 1.0,
    model: Model = None,
    language: Language = None,
    key: Key = None,
) -> None:
    """Stream a recording to a server at the pace of speech and watch the words come.

    Where stdout is no terminal, each final is a line. Ctrl-C ends the stream; what was heard is delivered.
    """
    from echoic.cli.live import PIECE, listen, view_for_stdout
    from echoic.client import ServerError, stream_address
    from echoic.client.address import DEFAULT_SERVER
    from echoic.media import UnreadableAudio, read_audio

    config = config_of(model, language)
    try:
        address, pieces = stream_address(url or DEFAULT_SERVER), read_audio(file, chunk=PIECE)
        heard = asyncio.run(listen(address, pieces, view_for_stdout(), speed=speed, key=key, config=config))
    except ServerError as error:
        give_up(f"{error}{_advice(error)}")
    except (UnreadableAudio, ValueError) as error:
        give_up(str(error))
    if heard.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _advice(error: "ServerError") -> str:
    """Return what else helps, as a sentence after the error's."""
    if error.code == "unreachable" and not error.detail:
        return " Start one in another terminal: echoic serve"
    pause = error.detail.get("retry_after")
    return f" It advises to wait {pause:g} s." if isinstance(pause, int | float) else ""
