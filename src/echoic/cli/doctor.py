"""The command ``echoic doctor``: prints the result of each check."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from echoic.cli.options import JsonOption

_STATE_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


def run_doctor(
    *,
    host: Annotated[
        str | None,
        typer.Option(help="The address that the server will listen on.", show_default="from the settings"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Its port.", show_default="from the settings")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that the server needs and print how to fix it; exit code 1 if it cannot work."""
    from echoic.cli.checks import run_checks

    checks = run_checks(host, port)
    works = all(check.state != "missing" for check in checks)
    if as_json:
        body = {"works": works, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(body, ensure_ascii=False, indent=2))
    else:
        from rich.text import Text

        from echoic.cli.options import print_table

        states = {state: Text(state, style=colour) for state, colour in _STATE_COLOURS.items()}
        rows = [(check.name, states[check.state], check.found, check.fix or "") for check in checks]
        headings = ("Check", "", "Found", "What to do")
        print_table(headings, rows, unbroken=headings[-1:])
        typer.echo("\nThe server can work here." if works else "\nThe server cannot work here.")
    if not works:
        raise typer.Exit(1)
