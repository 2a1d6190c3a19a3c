"""``echoic listen``."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import (
    ApiKeyOption,
    ConfigOption,
    SaveOption,
    StreamOptions,
    UrlOption,
    exit_with_error,
    with_stream_options,
)

if TYPE_CHECKING:
    from echoic.cli.stdin_audio import SampleFormat
    from echoic.cli.streaming import LiveRun

_STDIN_ARGUMENT = "-"


class RawEncoding(StrEnum):
    """Codings of raw samples."""

    S16LE = "s16le"
    F32LE = "f32le"


@with_stream_options
def transcribe_live(  # noqa: PLR0913  # each is an option of the command
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="-: sound from standard input, raw or WAV.", show_default=False),
    ] = None,
    *,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="The microphone: a number, or part of its name.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Print the microphones there are, and leave.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=8_000, max=192_000, help="Samples per second of raw sound.")
    ] = 16_000,
    form: Annotated[RawEncoding, typer.Option("--format", help="Coding of raw sound.")] = RawEncoding.S16LE,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of raw sound; averaged.")] = 1,
    save: SaveOption = None,
    url: UrlOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    wishes: StreamOptions,
) -> None:
    """Captions of what the microphone hears, or of sound from a pipe, until Ctrl-C.

    ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | echoic listen -

    Where stdout is no terminal, each final is a line. Ctrl-C delivers what was heard; a second ends at once.
    Without --url by the server on this machine, or where none runs by one for this command.
    """
    if list_devices:
        _print_devices()
        return
    if source not in (None, _STDIN_ARGUMENT):
        exit_with_error(f"Only - can be listened to; a file is streamed: echoic stream {source}", 2)

    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.streaming import build_live_run

    sitting = build_live_run(wishes, save, url, key)
    if source is None:
        _stream_microphone(device, url, config, sitting)
        return  # Ctrl-C is how one stops listening
    from echoic.cli.stdin_audio import SampleFormat

    _stream_stdin(SampleFormat(form, rate, channels), url, config, sitting)
    if sitting.is_interrupted:
        raise typer.Exit(INTERRUPTED_STATUS)


def _stream_microphone(device: str | None, url: str | None, config: Path | None, live_run: "LiveRun") -> None:
    from echoic.cli.microphone import Microphone, MicrophoneUnavailable
    from echoic.cli.streaming import run_live_command

    try:
        microphone = Microphone(device)
    except MicrophoneUnavailable as error:
        exit_with_error(str(error))
    live_run.config["sample_rate"] = microphone.rate
    told = f"Listening to {microphone.name}; Ctrl-C ends."
    run_live_command(url, config, microphone.read_pieces(lambda: live_run.view.show_message(told)), live_run)


def _stream_stdin(
    sample_format: "SampleFormat", url: str | None, config: Path | None, live_run: "LiveRun"
) -> None:
    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.stdin_audio import StdinAudio
    from echoic.cli.streaming import run_live_command
    from echoic.client import UnreadableAudio

    if sys.stdin is None:  # so it is where it was closed
        exit_with_error("Standard input is closed; pipe sound into it, or leave the - out.", 2)
    if sys.stdin.isatty():
        exit_with_error("Standard input is the keyboard; pipe sound into it, or leave the - out.", 2)
    try:
        piped = StdinAudio(sys.stdin.fileno(), sample_format)
    except UnreadableAudio as error:
        exit_with_error(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_STATUS) from None
    live_run.config["sample_rate"] = piped.sample_format.rate
    run_live_command(url, config, piped.read_pieces(), live_run)


def _print_devices() -> None:
    from echoic.cli.microphone import MicrophoneUnavailable, query_devices
    from echoic.cli.options import print_table

    try:
        found = query_devices()
    except MicrophoneUnavailable as error:
        exit_with_error(str(error))
    if not found:
        exit_with_error("There is no microphone here.")
    rows = [
        (f"{one.number}{' *' if one.is_default else ''}", one.name, str(one.channels), f"{one.rate} Hz")
        for one in found
    ]
    print_table(("Number", "Name", "Channels", "Rate"), rows)
