"""The command ``echoic stream``: captions of a recording at the pace of speech."""

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

#: Samples per second; the protocol's default.
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
    stream_options: StreamOptions,
) -> None:
    """Stream a recording to a server at the pace of speech and show live captions.

    If stdout is not a terminal, each final is a line.
    Ctrl-C waits for the last words; a second one exits at once.
    Without --url, it uses the server on this machine, or starts one.
    """
    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.streaming import build_live_run, run_live_command
    from echoic.client import UnreadableAudio
    from echoic.client.pacing import CHUNK_SECONDS, pace_audio
    from echoic.media import read_audio

    live_run = build_live_run(stream_options, save, url, key)
    try:
        pieces = pace_audio(read_audio(file, _SAMPLE_RATE, CHUNK_SECONDS), _SAMPLE_RATE, speed)
    except UnreadableAudio as error:
        exit_with_error(str(error))
    run_live_command(url, config, pieces, live_run)
    if live_run.is_interrupted:
        raise typer.Exit(INTERRUPTED_STATUS)
