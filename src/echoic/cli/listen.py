"""The command ``echoic listen``: captions of a microphone or of standard input."""

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
    """Encodings of raw samples."""

    S16LE = "s16le"
    F32LE = "f32le"


@with_stream_options
def transcribe_live(  # noqa: PLR0913  # each is an option of the command
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="-: audio from standard input, raw or WAV.", show_default=False),
    ] = None,
    *,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="The microphone: a number, or part of its name.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="Print the microphones and exit.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=8_000, max=192_000, help="Samples per second of raw audio.")
    ] = 16_000,
    encoding: Annotated[
        RawEncoding, typer.Option("--format", help="Encoding of raw audio.")
    ] = RawEncoding.S16LE,
    channels: Annotated[
        int, typer.Option(min=1, max=64, help="Channels of raw audio; they are averaged.")
    ] = 1,
    save: SaveOption = None,
    url: UrlOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    stream_options: StreamOptions,
) -> None:
    """Show live captions of the microphone, or of audio from a pipe, until Ctrl-C.

    ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | echoic listen -

    If stdout is not a terminal, each final is a line.
    Ctrl-C waits for the last words; a second one exits at once.
    Without --url, it uses the server on this machine, or starts one.
    """
    if list_devices:
        _print_devices()
        return
    if source not in (None, _STDIN_ARGUMENT):
        exit_with_error(
            f"`listen` reads the microphone or standard input (-). For a file: echoic stream {source}", 2
        )

    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.streaming import build_live_run

    live_run = build_live_run(stream_options, save, url, key)
    if source is None:
        _stream_microphone(device, url, config, live_run)
        return  # status 0 also after Ctrl-C, the normal end
    from echoic.cli.stdin_audio import SampleFormat

    _stream_stdin(SampleFormat(encoding, rate, channels), url, config, live_run)
    if live_run.is_interrupted:
        raise typer.Exit(INTERRUPTED_STATUS)


def _stream_microphone(device: str | None, url: str | None, config: Path | None, live_run: "LiveRun") -> None:
    from echoic.cli.microphone import Microphone, MicrophoneUnavailable
    from echoic.cli.streaming import run_live_command

    try:
        microphone = Microphone(device)
    except MicrophoneUnavailable as error:
        exit_with_error(str(error))
    live_run.config["sample_rate"] = microphone.rate
    greeting = f"Listening to {microphone.name}. Press Ctrl-C to stop."
    pieces = microphone.read_pieces(lambda: live_run.view.show_message(greeting))
    run_live_command(url, config, pieces, live_run)


def _stream_stdin(
    sample_format: "SampleFormat", url: str | None, config: Path | None, live_run: "LiveRun"
) -> None:
    from echoic.cli.signals import INTERRUPTED_STATUS
    from echoic.cli.stdin_audio import StdinAudio
    from echoic.cli.streaming import run_live_command
    from echoic.client import UnreadableAudio

    if sys.stdin is None:  # Python sets it to None if it is closed
        exit_with_error(
            "Standard input is closed. Pipe audio into it, or omit the - to use the microphone.", 2
        )
    if sys.stdin.isatty():
        exit_with_error(
            "Standard input is the keyboard. Pipe audio into it, or omit the - to use the microphone.", 2
        )
    try:
        audio = StdinAudio(sys.stdin.fileno(), sample_format)
    except UnreadableAudio as error:
        exit_with_error(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_STATUS) from None
    live_run.config["sample_rate"] = audio.sample_format.rate
    run_live_command(url, config, audio.read_pieces(), live_run)


def _print_devices() -> None:
    from echoic.cli.microphone import MicrophoneUnavailable, query_devices
    from echoic.cli.options import print_table

    try:
        devices = query_devices()
    except MicrophoneUnavailable as error:
        exit_with_error(str(error))
    if not devices:
        exit_with_error("No microphone was found.")
    rows = [
        (
            f"{device.number}{' *' if device.is_default else ''}",
            device.name,
            str(device.channels),
            f"{device.rate} Hz",
        )
        for device in devices
    ]
    print_table(("Number", "Name", "Channels", "Rate"), rows)
