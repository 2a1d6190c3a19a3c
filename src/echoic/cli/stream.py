"""``echoic stream``."""

from pathlib import Path
from typing import Annotated

import typer

from echoic.cli.options import (
    ApiKeyOption,
    ConfigOption,
    SaveOption,
    SpeedOption,
    StreamOptions,
    UrlOption,
    exit_with_error,
    with_stream_options,
)

#: Samples per second, the protocol's default.
_SAMPLE_RATE = 16_000


@with_stream_options
def stream_file(  # noqa: PLR0913  # each is an option of the command
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio or video file.")],
    *,
    url: UrlOption = None,
    speed: SpeedOption = 1.0,
    save: SaveOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    wishes: StreamOptions,
) -> None:
    """Stream a recording to a server at the pace of speech and watch the words come.

    Where stdout is no terminal, each final is a line. Ctrl-C ends the stream; what was heard is delivered.
    Without --url by the server on this machine, or where none runs by one for this command.
    """
    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.streaming import build_live_run, run_live_command
    from echoic.client import UnreadableAudio
    from echoic.client.pacing import CHUNK_SECONDS, pace_audio
    from echoic.media import read_audio

    sitting = build_live_run(wishes, save, url, key)
    try:
        pieces = pace_audio(read_audio(file, _SAMPLE_RATE, CHUNK_SECONDS), _SAMPLE_RATE, speed)
    except UnreadableAudio as error:
        exit_with_error(str(error))
    run_live_command(url, config, pieces, sitting)
    if sitting.is_interrupted:
        raise typer.Exit(INTERRUPTED_STATUS)
