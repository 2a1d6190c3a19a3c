"""The command ``echoic models optimize``: makes a faster Parakeet for this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import exit_with_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from echoic.engines.optimize.optimizer import OptimizeResult

_INSTALL_COMMAND = "pip install 'echoic[optimize]'"
#: Seconds of a recording in one piece, and of all recordings together.
_PIECE_SECONDS, _MAX_SECONDS = 20.0, 120.0
_SAMPLE_RATE = 16_000


def optimize_parakeet(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FOLDER]",
            help="A downloaded ONNX model, or its folder; by default the one that the server uses.",
        ),
    ] = None,
    *,
    audio: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="A recording of speech, or a folder of them, to compare the tokens before and after.",
        ),
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Keep every form made, not only the chosen one.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat it if the model is already optimized.")
    ] = False,
) -> None:
    """Make a faster form of Parakeet for this machine; the original files are kept."""
    try:
        from echoic.engines.optimize.optimizer import OptimizeError, optimize_model
    except ImportError:
        exit_with_error(f"The package onnx is not installed. To install it: {_INSTALL_COMMAND}")
    from echoic.errors import ModelUnavailable

    folder = _resolve_folder(model)
    try:
        result = optimize_model(
            folder,
            _read_recordings(audio),
            force=again,
            keep_all=keep_all,
            on_step=lambda sentence: typer.echo(sentence, err=True),
        )
    except (ModelUnavailable, OptimizeError) as error:
        exit_with_error(str(error))
    _print_result(result)


def _resolve_folder(model: str | None) -> Path:
    """Return the folder of a model given by name or folder, or of the one that the server uses."""
    from echoic.cli.environment import load_settings_or_exit, resolve_models_folder
    from echoic.engines.store.cache import find_model_folder

    if model is not None:
        downloaded = resolve_models_folder() / model
        return downloaded if downloaded.is_dir() and "/" not in model else Path(model).resolve()
    folder = load_settings_or_exit().stt.parakeet_onnx_dir or find_model_folder(resolve_models_folder())
    if folder is None:
        from echoic.engines.parakeet.onnx_files import ONNX_DOWNLOAD_COMMAND

        exit_with_error(
            f"No Parakeet in ONNX was found. To download one: {ONNX_DOWNLOAD_COMMAND} --quantization none"
        )
    return folder


def _read_recordings(path: Path | None) -> "list[NDArray[np.float32]]":
    """Read pieces of the recordings at ``path``, or of the demo's recording."""
    from itertools import islice

    from echoic.cli.demo import find_demo_recording
    from echoic.media import UnreadableAudio, read_audio

    if path is None:
        path = find_demo_recording()
        if path is None:
            return []
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    pieces: list[NDArray[np.float32]] = []
    for file in files:
        try:
            pieces += islice(
                read_audio(file, _SAMPLE_RATE, chunk_seconds=_PIECE_SECONDS),
                round(_MAX_SECONDS / _PIECE_SECONDS) - len(pieces),
            )
        except UnreadableAudio as error:
            if len(files) == 1:
                exit_with_error(str(error))
    if files and not pieces:
        exit_with_error(f"No file in {path} can be read as audio.")
    return pieces


def _print_result(result: "OptimizeResult") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from echoic.engines.optimize.benchmark import BENCHMARK_CASES

    first = result.trials[0]
    cases = [f"{windows} of {seconds:g} s" for seconds, windows in BENCHMARK_CASES]
    table = Table(
        Column("Encoder", no_wrap=True), "MB", *cases, "Speed", "Same tokens", "", box=None, pad_edge=False
    )
    new = {file.name for file in result.new_files}
    for trial in result.trials:
        agreement = trial.measure_agreement(first)
        table.add_row(
            f"{trial.encoder.name} + split" if trial.is_split else trial.encoder.name,
            f"{trial.size / 1e6:,.0f}",
            *(f"{milliseconds:,.1f} ms" for milliseconds in trial.milliseconds),
            f"{1 / trial.compare_cost(first):.1f}",
            "not compared" if agreement is None else f"{100 * agreement:.1f} %",
            "chosen" if trial is result.chosen else "kept" if trial.encoder.name in new else "",
        )
    Console().print(table)
    typer.echo(
        "\nMilliseconds of one core for each window of a batch; speed 1.0 is that of the first line. "
        "+ split: with the decoding network split in three."
    )
    for note in result.notes:
        typer.echo(note)
    for file in result.new_files:
        typer.echo(str(file))
    typer.echo(f"The server uses {result.chosen.encoder.name} after its next start.")
