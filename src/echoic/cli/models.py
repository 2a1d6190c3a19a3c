"""``echoic models``."""

import json
from dataclasses import asdict

import typer

from echoic.cli.models_get import get, remove
from echoic.cli.models_optimize import optimize
from echoic.cli.options import AsJson, Key, Url, give_up

_MIB = 2**20

app = typer.Typer(invoke_without_command=True)
app.command("get")(get)
app.command("optimize")(optimize)
app.command("remove")(remove)


@app.callback()
def models(context: typer.Context, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the models: what is there, what is missing, and how to get it; with --url those of a server."""
    if context.invoked_subcommand:
        return
    rows = _rows(url, key)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich.text import Text

    from echoic.cli.tables import print_table

    headings = ("Model", "", "Size", "Quantization", "Where, or what to do")
    lines = [[Text(str(row.get("id"))), *(Text(*cell) for cell in _cells(row))] for row in rows]
    print_table(headings, lines, whole=("Model", headings[-1]))


def _cells(row: dict[str, object]) -> list[tuple[str, str]]:
    """Return the texts of a model's row after its name, each with its colour."""
    here = ("loaded" if row.get("loaded") else "there", "green")
    size, names = row.get("size"), row.get("quantizations")
    quantizations = [str(name) or "none" for name in names] if isinstance(names, list) else []
    there = str(row.get("where") or "")
    missing = "\n".join(str(row[key]) for key in ("reason", "install") if row.get(key))
    return [
        here if row.get("available") else ("missing", "red"),
        (f"{size / _MIB:.0f} MiB" if isinstance(size, int) else "", ""),
        (", ".join(quantizations), ""),
        (there if row.get("available") else missing, ""),
    ]


def _rows(url: str | None, key: str | None) -> list[dict[str, object]]:
    if url is None:
        return _rows_here()
    from echoic.cli.status import fetch_models
    from echoic.client import ServerError

    try:
        return fetch_models(url, key)
    except (ServerError, ValueError) as error:
        give_up(str(error))


def _rows_here() -> list[dict[str, object]]:
    from echoic.cli.places import registry_here
    from echoic.engines.parakeet_files import CTC, ENCODER
    from echoic.engines.weights import quantizations, size_of

    registry = registry_here()
    rows = []
    for status in registry.describe():
        place = registry.place(status.id)
        found = place if place is not None and place.exists() else None
        graphs = quantizations(found, ENCODER) or quantizations(found, CTC) if found else ()
        more = {
            "where": found and str(found),
            "size": found and size_of(found),
            "quantizations": list(graphs),
        }
        rows.append(asdict(status) | more)
    return rows
