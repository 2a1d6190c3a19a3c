"""``echoic stream``."""

from pathlib import Path
from typing import Annotated

import typer

from echoic.cli.options import (
    Config,
    Key,
    SaveTo,
    Speed,
    Url,
    Wishes,
    give_up,
    with_wishes,
)

#: Samples per second, the protocol's default.
_RATE = 16_000


@with_wishes
def stream(  # noqa: PLR0913  # each is an option of the command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio or video file.")],
    *,
    url: Url = None,
    speed: Speed = 1.0,
    save: SaveTo = None,
    key: Key = None,
    config: Config = None,
    wishes: Wishes,
) -> None:
    """Stream a recording to a server at the pace of speech and watch the words come.

    Where stdout is no terminal, each final is a line. Ctrl-C ends the stream; what was heard is delivered.
    Without --url by the server on this machine, or where none runs by one for this command.
    """
    from echoic.cli.ending import INTERRUPTED
    from echoic.cli.live import sitting_of, watch
    from echoic.client import UnreadableAudio
    from echoic.client.pacing import PIECE, paced
    from echoic.media import read_audio

    sitting = sitting_of(wishes, save, url, key)
    try:
        pieces = paced(read_audio(file, _RATE, PIECE), _RATE, speed)
    except UnreadableAudio as error:
        give_up(str(error))
    watch(url, config, pieces, sitting)
    if sitting.interrupted:
        raise typer.Exit(INTERRUPTED)
