"""The command ``echoic alive``: checks whether the server on this machine answers."""

import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING

import typer

from echoic.cli.options import ConfigOption, exit_with_error

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings

#: Seconds that the server may take to answer.
_TIMEOUT_SECONDS = 4.0
#: Where to reach a server that listens on all addresses.
_LOOPBACK_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
_SERVER_ERROR_STATUS = 500


def check_health(*, config: ConfigOption = None) -> None:
    """Check whether the server with these settings answers on this machine; exit code 1 if not."""
    from echoic.server.settings.load import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ)
    except SettingsError as error:
        exit_with_error(str(error), 2)
    try:
        status = _fetch_health_status(settings)
    except (OSError, HTTPException):
        exit_with_error(f"No server answers on port {settings.server.port}.")
    # A refusal is healthy: ``allowed_addresses`` may exclude this machine.
    if status >= _SERVER_ERROR_STATUS:
        exit_with_error(f"The server on port {settings.server.port} answers with HTTP {status}.")
    typer.echo("The server answers.")


def _fetch_health_status(settings: "Settings") -> int:
    host = _LOOPBACK_HOSTS.get(settings.server.host, settings.server.host)
    if settings.server.tls_cert_file:
        context = ssl.create_default_context()
        # The certificate names the public host, and the request holds no secret.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: HTTPConnection = HTTPSConnection(
            host, settings.server.port, timeout=_TIMEOUT_SECONDS, context=context
        )
    else:
        connection = HTTPConnection(host, settings.server.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()
