"""``echoic models get`` and ``echoic models remove``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from echoic.cli.options import JsonOption, exit_with_error

_MIB = 2**20
#: Seconds between two lines about a file where the output is no terminal.
_LINE_SECONDS = 10.0


def get_model(
    name: Annotated[
        str | None, typer.Argument(help="The model; without one those there are are listed.")
    ] = None,
    *,
    quantization: Annotated[
        str | None,
        typer.Option(
            help="Of an ONNX model: int8, or none for full precision.", show_default="int8 if there"
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="A commit, branch or tag of the hub's repository.", show_default="newest"),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub: is it there?")] = False,
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="Where models are fetched from; the key: HF_TOKEN.")
    ] = "https://huggingface.co",
    as_json: JsonOption = False,
) -> None:
    """Fetch a model's weights; what was cut off goes on where it stopped."""
    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.download import DownloadOptions, download_model
    from echoic.engines.store.hub import Hub
    from echoic.errors import ModelUnavailable

    if name is None:
        _print_sources(as_json=as_json)
        return
    try:
        with _show_progress() as told:
            order = DownloadOptions("" if quantization == "none" else quantization, revision)
            folder = download_model(name, resolve_models_folder(), None if offline else Hub(hub), order, told)
    except ModelUnavailable as refusal:
        exit_with_error(str(refusal))
    except ValueError:
        exit_with_error(f"{hub!r} is not an address of a hub, such as https://huggingface.co.", 2)
    typer.echo(str(folder))


def delete_model(name: Annotated[str, typer.Argument(help="A model that was fetched.")]) -> None:
    """Remove a model that was fetched."""
    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.cache import list_cached_models, remove_model
    from echoic.errors import ModelUnavailable

    folder = resolve_models_folder()
    try:
        removed = remove_model(name, folder)
    except ModelUnavailable as refusal:
        fetched = [one.name for one in list_cached_models(folder)]
        if name in fetched:
            exit_with_error(str(refusal))
        exit_with_error(
            f"{name} was not fetched; {', '.join(fetched) or 'nothing'} was. The folder is {folder}."
        )
    typer.echo(f"{removed.folder} is removed ({removed.size / _MIB:.1f} MiB).")


def _print_sources(*, as_json: bool) -> None:
    import json

    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.cache import list_cached_models
    from echoic.engines.store.catalogue import MODEL_SOURCES

    states = {
        one.name: "fetched" if one.is_complete else "cut off"
        for one in list_cached_models(resolve_models_folder())
    }
    rows = [
        {
            "name": source.name,
            "engine": {"nemo": "parakeet-standard", "mlx": "parakeet-mlx", "whisper": "whisper"}.get(
                source.model_format, "parakeet-onnx"
            ),
            "languages": list(source.languages),
            "repository": source.repository,
            "state": states.get(source.name),
        }
        for source in MODEL_SOURCES.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from echoic.cli.options import print_table

    table = []
    for row, source in zip(rows, MODEL_SOURCES.values(), strict=True):
        languages = "English" if source.languages == ("en",) else str(len(source.languages) or "many")
        table.append((source.name, str(row["engine"]), languages, states.get(source.name, "")))
    print_table(("Name", "For", "Languages", ""), table, unbroken=("Name",))


@contextmanager
def _show_progress() -> Iterator[Callable[[str, int, int], object]]:
    """Show on stderr how far each file has come: by a bar on a terminal, else by a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ProgressLines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def told(file: str, have: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=size)
            progress.update(tasks[file], completed=have)

        yield told


class _ProgressLines:
    """Tells on stderr how far a file has come, by a line when it is there and now and then before."""

    def __init__(self) -> None:
        self._last_printed = time.monotonic()

    def __call__(self, file: str, have: int, size: int) -> None:
        if have < size and time.monotonic() - self._last_printed < _LINE_SECONDS:
            return
        self._last_printed = time.monotonic()
        typer.echo(f"{file}  {have / _MIB:.1f} of {size / _MIB:.1f} MiB", err=True)
