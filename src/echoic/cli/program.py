"""The commands of ``echoic``."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import echoic
from echoic.cli import alive, demo, doctor, evaluate, keys, listen, models, serve, stream, transcribe

app = typer.Typer(
    help=echoic.__doc__.partition("\n")[0] if echoic.__doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold a key
)
app.command("serve")(serve.serve)
app.command("transcribe")(transcribe.transcribe)
app.command("listen")(listen.listen)
app.command("stream")(stream.stream)
app.command("eval")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command("alive")(alive.alive)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def run() -> None:
    """Run the command that the program's arguments name."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a letter that it does not have ends no stream
    app(prog_name="echoic")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it so
    if wanted:
        typer.echo(f"echoic {echoic.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Live audio to text over WebSockets, on your own machine."""
