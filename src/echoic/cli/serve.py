"""``echoic serve``."""

import os
from typing import Annotated

import typer

from echoic.cli.options import ConfigOption, exit_with_error


def run_server(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0: any free one.  [default: 8000]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start the server; it stops on Ctrl-C, after it has delivered what it heard."""
    from echoic.server import process
    from echoic.server.settings.load import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ, host=host, port=port)
    except SettingsError as error:
        exit_with_error(str(error), 2)
    process.serve(settings)
