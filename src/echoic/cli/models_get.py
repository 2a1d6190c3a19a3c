"""``echoic models get``."""

import time
from typing import Annotated

import typer

from echoic.cli.options import give_up

_MIB = 2**20
#: Seconds between two lines about a file where the output is no terminal.
_QUIET = 10.0


def get(
    name: Annotated[str, typer.Argument(help="The model, such as parakeet-tdt-0.6b-v3-onnx.")],
    *,
    quantization: Annotated[
        str, typer.Option(help="Of the encoder: int8, or none for full precision.")
    ] = "int8",
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub: is it there?")] = False,
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="Where models are fetched from.")
    ] = "https://huggingface.co",
) -> None:
    """Fetch a model's weights; what was cut off goes on where it stopped."""
    from echoic.cli.places import models_folder
    from echoic.engines.weights import Hub, fetch_model
    from echoic.errors import ModelUnavailable

    shelf = models_folder()
    try:
        folder = fetch_model(
            name,
            shelf,
            None if offline else Hub(hub),
            quantization="" if quantization == "none" else quantization,
            progress=_Lines(),
        )
    except ModelUnavailable as refusal:
        give_up(refusal.message)
    except ValueError:
        give_up(f"{hub!r} is not an address of a hub, such as https://huggingface.co.", 2)
    typer.echo(str(folder))


class _Lines:
    """Tells on stderr how far a file has come: by a line that moves, or now and then by another."""

    def __init__(self) -> None:
        import sys

        self._moves = sys.stderr.isatty()
        self._told = time.monotonic()

    def __call__(self, file: str, have: int, size: int) -> None:
        done = have >= size
        if not done and not self._moves and time.monotonic() - self._told < _QUIET:
            return
        self._told = time.monotonic()
        line = f"{file}  {have / _MIB:.1f} of {size / _MIB:.1f} MiB"
        typer.echo(f"\r{line}\x1b[K" if self._moves else line, err=True, nl=done or not self._moves)
