"""The command ``echoic models``: lists the models of this machine or of a server."""

import json
import ssl
from dataclasses import asdict
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import typer

from echoic.cli.models_get import delete_model, get_model
from echoic.cli.optimize import optimize_parakeet
from echoic.cli.options import ApiKeyOption, JsonOption, UrlOption, exit_with_error

#: Seconds that a server may take to answer.
_REQUEST_TIMEOUT = 10.0
_MIB = 2**20

app = typer.Typer(invoke_without_command=True)
app.command("get")(get_model)
app.command("optimize")(optimize_parakeet)
app.command("remove")(delete_model)


@app.callback()
def list_models(
    context: typer.Context, *, url: UrlOption = None, key: ApiKeyOption = None, as_json: JsonOption = False
) -> None:
    """List the models: what is installed, what is missing and how to get it; with --url those of a server."""
    if context.invoked_subcommand:
        return
    rows = _build_local_rows() if url is None else _fetch_server_rows(url, key)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich.text import Text

    from echoic.cli.options import print_table

    headings = ("Model", "", "Size", "Quantization", "Where, or what to do")
    lines = [[Text(str(row.get("id"))), *(Text(*cell) for cell in _render_cells(row))] for row in rows]
    print_table(headings, lines, unbroken=("Model", headings[-1]))


def fetch_models(address: str, key: str | None) -> list[dict[str, object]]:
    """Return the ``models`` of a server's status endpoint.

    Args:
        address: The server, in any form that ``resolve_stream_url`` accepts.
        key: The API key, or None.

    Raises:
        ServerError: No server answers, or another program does.
        ValueError: The address is invalid.
    """
    from echoic.client.address import LOOPBACK_HOSTS, redact_address, resolve_status_url
    from echoic.client.errors import ServerError, build_untrusted_error

    url = resolve_status_url(address)
    request = Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310  # http(s) only
    opener = build_opener(ProxyHandler({})) if urlsplit(url).hostname in LOOPBACK_HOSTS else build_opener()
    try:
        with opener.open(request, timeout=_REQUEST_TIMEOUT) as answer:
            models = json.load(answer)["models"]
    except HTTPError as error:
        message = f"{redact_address(url)} answers, but not as an echoic server does (HTTP {error.code})."
        raise ServerError("unreachable", message) from None
    except OSError as error:
        if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
            raise build_untrusted_error(redact_address(url), error.reason) from None
        raise ServerError("unreachable", f"No echoic server answers at {redact_address(url)}.") from None
    except (ValueError, KeyError, TypeError):
        message = f"The program that answers at {redact_address(url)} is not an echoic server."
        raise ServerError("unreachable", message) from None
    return [model for model in models if isinstance(model, dict)]


def _fetch_server_rows(url: str, key: str | None) -> list[dict[str, object]]:
    from echoic.client.errors import ServerError

    try:
        return fetch_models(url, key)
    except (ServerError, ValueError) as error:
        exit_with_error(str(error))


def _build_local_rows() -> list[dict[str, object]]:
    """Return a row for each model of this machine, with its folder, its size and its quantizations."""
    from echoic.cli.environment import build_local_registry
    from echoic.engines.parakeet.onnx_files import CTC_STEM, ENCODER_STEM
    from echoic.engines.store.cache import list_quantizations, measure_size

    registry = build_local_registry()
    rows = []
    for status in registry.describe_models():
        place = registry.find_weights(status.id)
        folder = place if place is not None and place.exists() else None
        quantizations = (
            list_quantizations(folder, ENCODER_STEM) or list_quantizations(folder, CTC_STEM) if folder else ()
        )
        files = {
            "where": folder and str(folder),
            "size": folder and measure_size(folder),
            "quantizations": list(quantizations),
        }
        rows.append(asdict(status) | files)
    return rows


def _render_cells(row: dict[str, object]) -> list[tuple[str, str]]:
    """Return the texts of a model's row after its name, each with its colour."""
    available = ("loaded" if row.get("loaded") else "there", "green")
    size, names = row.get("size"), row.get("quantizations")
    quantizations = [str(name) or "none" for name in names] if isinstance(names, list) else []
    missing = "\n".join(str(row[key]) for key in ("reason", "install") if row.get(key))
    return [
        available if row.get("available") else ("missing", "red"),
        (f"{size / _MIB:.0f} MiB" if isinstance(size, int) else "", ""),
        (", ".join(quantizations), ""),
        (str(row.get("where") or "") if row.get("available") else missing, ""),
    ]
