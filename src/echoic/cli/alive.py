"""``echoic alive``."""

import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING

import typer

from echoic.cli.options import Config, give_up

if TYPE_CHECKING:
    from echoic.server.settings import Settings

#: Seconds it may take to answer.
_PATIENCE = 4.0
#: Where a server that listens everywhere is found.
_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
_BROKEN = 500


def alive(*, config: Config = None) -> None:
    """Say whether the server that has these settings answers on this machine; exit code 1 if not."""
    from echoic.server.settings import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ)
    except SettingsError as error:
        give_up(str(error), 2)
    try:
        status = _status_of(settings)
    except (OSError, HTTPException):
        give_up(f"No server answers on port {settings.port}.")
    # It may well refuse: ``allowed_addresses`` need not name this machine.
    if status >= _BROKEN:
        give_up(f"The server on port {settings.port} answers with HTTP {status}.")
    typer.echo("The server answers.")


def _status_of(settings: "Settings") -> int:
    host = _NEAR.get(settings.host, settings.host)
    if settings.tls_cert_file:
        trust = ssl.create_default_context()
        # The certificate is for the server's public name, and nothing secret is said.
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        line: HTTPConnection = HTTPSConnection(host, settings.port, timeout=_PATIENCE, context=trust)
    else:
        line = HTTPConnection(host, settings.port, timeout=_PATIENCE)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status
    finally:
        line.close()
