"""The commands ``echoic models get`` and ``echoic models remove``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from echoic.cli.options import JsonOption, exit_with_error

_MIB = 2**20
#: Seconds between two lines about a file if stderr is not a terminal.
_LINE_SECONDS = 10.0


def get_model(
    name: Annotated[
        str | None, typer.Argument(help="The model; without one, the models to download are listed.")
    ] = None,
    *,
    quantization: Annotated[
        str | None,
        typer.Option(
            help="For an ONNX model: int8, or none for full precision.", show_default="int8 if available"
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="A commit, branch or tag of the hub's repository.", show_default="newest"),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only check whether the model is downloaded.")
    ] = False,
    hub: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub to download from; its key: HF_TOKEN.")
    ] = "https://huggingface.co",
    as_json: JsonOption = False,
) -> None:
    """Download a model's weights; an interrupted download is resumed."""
    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.download import DownloadOptions, download_model
    from echoic.engines.store.hub import Hub
    from echoic.errors import ModelUnavailable

    if name is None:
        _print_sources(as_json=as_json)
        return
    try:
        with _show_progress() as on_progress:
            options = DownloadOptions("" if quantization == "none" else quantization, revision)
            source = None if offline else Hub(hub)
            folder = download_model(name, resolve_models_folder(), source, options, on_progress)
    except ModelUnavailable as error:
        exit_with_error(str(error))
    except ValueError:
        exit_with_error(f"{hub!r} is not the address of a hub, such as https://huggingface.co.", 2)
    typer.echo(str(folder))


def delete_model(name: Annotated[str, typer.Argument(help="A downloaded model.")]) -> None:
    """Remove a downloaded model."""
    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.cache import list_cached_models, remove_model
    from echoic.errors import ModelUnavailable

    folder = resolve_models_folder()
    try:
        removed = remove_model(name, folder)
    except ModelUnavailable as error:
        models = [model.name for model in list_cached_models(folder)]
        if name in models:
            exit_with_error(str(error))
        exit_with_error(f"{name} is not in {folder}. Downloaded models: {', '.join(models) or 'none'}.")
    typer.echo(f"Removed {removed.folder} ({removed.size / _MIB:.1f} MiB).")


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
    """Show the download of each file on stderr: a bar on a terminal, else a line now and then."""
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

        def on_progress(file: str, done: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=size)
            progress.update(tasks[file], completed=done)

        yield on_progress


class _ProgressLines:
    """Prints the progress of a download to stderr: a line every few seconds, and one at the end."""

    def __init__(self) -> None:
        self._last_printed = time.monotonic()

    def __call__(self, file: str, done: int, size: int) -> None:
        if done < size and time.monotonic() - self._last_printed < _LINE_SECONDS:
            return
        self._last_printed = time.monotonic()
        typer.echo(f"{file}  {done / _MIB:.1f} of {size / _MIB:.1f} MiB", err=True)
