"""The program ``echoic``: registers its commands."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import echoic
from echoic.cli import demo, doctor, evaluate, healthcheck, keys, listen, models, serve, stream, transcribe

app = typer.Typer(
    help=echoic.__doc__.partition("\n")[0] if echoic.__doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals may hold an API key
)
app.command("serve")(serve.run_server)
app.command("transcribe")(transcribe.transcribe_files)
app.command("listen")(listen.transcribe_live)
app.command("stream")(stream.stream_file)
app.command("eval")(evaluate.run_evaluation)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command("alive")(healthcheck.check_health)
app.command("doctor")(doctor.run_doctor)
app.command("demo")(demo.run_demo)


def run() -> None:
    """Run the command in ``sys.argv``."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # characters missing in its encoding raise no error
    app(prog_name="echoic")


def _print_version(is_requested: bool) -> None:  # noqa: FBT001  # called by typer
    if is_requested:
        typer.echo(f"echoic {echoic.__version__}")
        raise typer.Exit


@app.callback()
def _handle_common_options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Live audio to text over WebSockets, on your own machine."""
