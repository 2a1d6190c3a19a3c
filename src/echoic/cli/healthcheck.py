"""``echoic alive``."""

import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING

import typer

from echoic.cli.options import ConfigOption, exit_with_error

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings

#: Seconds it may take to answer.
_TIMEOUT_SECONDS = 4.0
#: Where a server that listens everywhere is found.
_LOOPBACK_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
_SERVER_ERROR_STATUS = 500


def check_health(*, config: ConfigOption = None) -> None:
    """Say whether the server that has these settings answers on this machine; exit code 1 if not."""
    from echoic.server.settings.load import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ)
    except SettingsError as error:
        exit_with_error(str(error), 2)
    try:
        status = _fetch_health_status(settings)
    except (OSError, HTTPException):
        exit_with_error(f"No server answers on port {settings.server.port}.")
    # It may well refuse: ``allowed_addresses`` need not name this machine.
    if status >= _SERVER_ERROR_STATUS:
        exit_with_error(f"The server on port {settings.server.port} answers with HTTP {status}.")
    typer.echo("The server answers.")


def _fetch_health_status(settings: "Settings") -> int:
    host = _LOOPBACK_HOSTS.get(settings.server.host, settings.server.host)
    if settings.server.tls_cert_file:
        trust = ssl.create_default_context()
        # The certificate is for the server's public name, and nothing secret is said.
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        line: HTTPConnection = HTTPSConnection(
            host, settings.server.port, timeout=_TIMEOUT_SECONDS, context=trust
        )
    else:
        line = HTTPConnection(host, settings.server.port, timeout=_TIMEOUT_SECONDS)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status
    finally:
        line.close()
