"""``echoic doctor``."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from echoic.cli.options import AsJson

_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


def doctor(
    *,
    host: Annotated[str, typer.Option(help="Address the server is to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Its port.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Look at everything the server needs and say what to do; exit code 1 if it cannot work here."""
    from echoic.cli.checks import run_checks

    checks = run_checks(host, port)
    works = all(check.state != "missing" for check in checks)
    if as_json:
        body = {"works": works, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(body, ensure_ascii=False, indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        table = Table("Check", "", "Found", "What to do", box=None, pad_edge=False)
        for check in checks:
            state = Text(check.state, style=_COLOURS[check.state])
            table.add_row(check.name, state, escape(check.found), escape(check.fix or ""))
        console = Console()
        console.print(table)
        console.print("\nThe server can work here." if works else "\nThe server cannot work here.")
    if not works:
        raise typer.Exit(1)
