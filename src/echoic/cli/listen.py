"""``echoic listen``."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import (
    Config,
    Key,
    SaveTo,
    Url,
    Wishes,
    give_up,
    with_wishes,
)

if TYPE_CHECKING:
    from echoic.cli.live import Sitting
    from echoic.cli.piped import Layout

_PIPE = "-"


class RawForm(StrEnum):
    """Codings of raw samples."""

    S16LE = "s16le"
    F32LE = "f32le"


@with_wishes
def listen(  # noqa: PLR0913  # each is an option of the command
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
    form: Annotated[RawForm, typer.Option("--format", help="Coding of raw sound.")] = RawForm.S16LE,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of raw sound; averaged.")] = 1,
    save: SaveTo = None,
    url: Url = None,
    key: Key = None,
    config: Config = None,
    wishes: Wishes,
) -> None:
    """Captions of what the microphone hears, or of sound from a pipe, until Ctrl-C.

    ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | echoic listen -

    Where stdout is no terminal, each final is a line. Ctrl-C delivers what was heard; a second ends at once.
    Without --url by the server on this machine, or where none runs by one for this command.
    """
    if list_devices:
        _list_devices()
        return
    if source not in (None, _PIPE):
        give_up(f"Only - can be listened to; a file is streamed: echoic stream {source}", 2)

    from echoic.cli.ending import INTERRUPTED
    from echoic.cli.live import sitting_of

    sitting = sitting_of(wishes, save, url, key)
    if source is None:
        _from_microphone(device, url, config, sitting)
        return  # Ctrl-C is how one stops listening
    from echoic.cli.piped import Layout

    _from_pipe(Layout(form, rate, channels), url, config, sitting)
    if sitting.interrupted:
        raise typer.Exit(INTERRUPTED)


def _from_microphone(device: str | None, url: str | None, config: Path | None, sitting: "Sitting") -> None:
    from echoic.cli.live import watch
    from echoic.cli.microphone import Microphone, NoMicrophone

    try:
        microphone = Microphone(device)
    except NoMicrophone as error:
        give_up(str(error))
    sitting.config["sample_rate"] = microphone.rate
    told = f"Listening to {microphone.name}; Ctrl-C ends."
    watch(url, config, microphone.pieces(lambda: sitting.view.tell(told)), sitting)


def _from_pipe(layout: "Layout", url: str | None, config: Path | None, sitting: "Sitting") -> None:
    from echoic.cli.ending import INTERRUPTED
    from echoic.cli.live import watch
    from echoic.cli.piped import Piped
    from echoic.client import UnreadableAudio

    if sys.stdin is None:  # so it is where it was closed
        give_up("Standard input is closed; pipe sound into it, or leave the - out.", 2)
    if sys.stdin.isatty():
        give_up("Standard input is the keyboard; pipe sound into it, or leave the - out.", 2)
    try:
        piped = Piped(sys.stdin.fileno(), layout)
    except UnreadableAudio as error:
        give_up(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    sitting.config["sample_rate"] = piped.layout.rate
    watch(url, config, piped.pieces(), sitting)


def _list_devices() -> None:
    from echoic.cli.microphone import NoMicrophone, devices
    from echoic.cli.tables import print_table

    try:
        found = devices()
    except NoMicrophone as error:
        give_up(str(error))
    if not found:
        give_up("There is no microphone here.")
    rows = [
        (f"{one.number}{' *' if one.is_default else ''}", one.name, str(one.channels), f"{one.rate} Hz")
        for one in found
    ]
    print_table(("Number", "Name", "Channels", "Rate"), rows)
