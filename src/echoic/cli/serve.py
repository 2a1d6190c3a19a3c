"""The command ``echoic serve``: starts the server."""

import os
from typing import Annotated

import typer

from echoic.cli.options import ConfigOption, exit_with_error


def run_server(
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port; 0: any free port.  [default: 8000]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start the server; Ctrl-C stops it after open streams have received their last words."""
    from echoic.server import process
    from echoic.server.settings.load import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ, host=host, port=port)
    except SettingsError as error:
        exit_with_error(str(error), 2)
    process.serve(settings)
