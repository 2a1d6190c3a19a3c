"""``echoic models``."""

import json
from dataclasses import asdict

import typer

from echoic.cli.models_get import get, remove
from echoic.cli.options import AsJson, Key, Url, give_up

app = typer.Typer(invoke_without_command=True)
app.command("get")(get)
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Model", "There", "What is missing", "How to get it", box=None, pad_edge=False)
    for row in rows:
        there = Text("yes", style="green") if row.get("available") else Text("no", style="red")
        table.add_row(str(row.get("id")), there, _text(row.get("reason")), _text(row.get("install")))
    Console().print(table)


def _rows(url: str | None, key: str | None) -> list[dict[str, object]]:
    if url is None:
        from echoic.cli.places import registry_here

        return [asdict(status) for status in registry_here().describe()]
    from echoic.cli.status import fetch_models
    from echoic.client import ServerError

    try:
        return fetch_models(url, key)
    except (ServerError, ValueError) as error:
        give_up(str(error))


def _text(value: object) -> str:
    """Return a value as text that is no markup."""
    from rich.markup import escape

    return "" if value is None else escape(str(value))
