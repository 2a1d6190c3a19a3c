"""``echoic serve``."""

import os
from typing import Annotated

import typer

from echoic.cli.options import Config, give_up


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0: any free one.  [default: 8000]")
    ] = None,
    config: Config = None,
) -> None:
    """Start the server; it stops on Ctrl-C, after it has delivered what it heard."""
    from echoic.server import run
    from echoic.server.settings import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ, host=host, port=port)
    except SettingsError as error:
        give_up(str(error), 2)
    run.serve(settings)
