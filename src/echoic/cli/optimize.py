"""``echoic models optimize``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import exit_with_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from echoic.engines.optimize.optimizer import OptimizeResult

_INSTALL_COMMAND = "pip install 'echoic[optimize]'"
#: Seconds of a recording that are heard in one go, and of all recordings together.
_PIECE_SECONDS, _MAX_SECONDS = 20.0, 120.0
_SAMPLE_RATE = 16_000


def optimize_parakeet(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FOLDER]",
            help="A fetched model in ONNX, or its folder; else the one that a server here would use.",
        ),
    ] = None,
    *,
    audio: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="A recording of speech, or a folder of them, to compare what is heard before and after.",
        ),
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Keep every form that is made, not the one taken only.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also if it was done before.")] = False,
) -> None:
    """Make a faster form of Parakeet for this machine; the originals stay."""
    try:
        from echoic.engines.optimize.optimizer import OptimizeError
        from echoic.engines.optimize.optimizer import optimize_model as made_faster
    except ImportError:
        exit_with_error(f"This wants the package onnx: {_INSTALL_COMMAND}")
    from echoic.errors import ModelUnavailable

    folder = _resolve_folder(model)
    try:
        outcome = made_faster(
            folder,
            _read_recordings(audio),
            force=again,
            keep_all=keep_all,
            on_step=lambda sentence: typer.echo(sentence, err=True),
        )
    except ModelUnavailable as refusal:
        exit_with_error(str(refusal))
    except OptimizeError as refusal:
        exit_with_error(str(refusal))
    _print_outcome(outcome)


def _resolve_folder(model: str | None) -> Path:
    """Return the folder that is meant."""
    from echoic.cli.environment import load_settings_or_exit, resolve_models_folder
    from echoic.engines.store.cache import find_model_folder

    if model is not None:
        named = resolve_models_folder() / model
        return named if named.is_dir() and "/" not in model else Path(model).resolve()
    found = load_settings_or_exit().stt.parakeet_onnx_dir or find_model_folder(resolve_models_folder())
    if found is None:
        from echoic.engines.parakeet.onnx_files import ONNX_DOWNLOAD_COMMAND

        exit_with_error(f"There is no Parakeet in ONNX here: {ONNX_DOWNLOAD_COMMAND} --quantization none")
    return found


def _read_recordings(path: Path | None) -> "list[NDArray[np.float32]]":
    """Return pieces of the recordings to compare by: those of a place, or the demo's."""
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
        except UnreadableAudio as refusal:
            if len(files) == 1:
                exit_with_error(str(refusal))
    if files and not pieces:
        exit_with_error(f"No file in {path} can be read as audio.")
    return pieces


def _print_outcome(outcome: "OptimizeResult") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from echoic.engines.optimize.benchmark import BENCHMARK_CASES

    first = outcome.trials[0]
    cases = [f"{windows} of {seconds:g} s" for seconds, windows in BENCHMARK_CASES]
    table = Table(
        Column("Encoder", no_wrap=True), "MB", *cases, "Speed", "Same tokens", "", box=None, pad_edge=False
    )
    new = {file.name for file in outcome.new_files}
    for trial in outcome.trials:
        agreed = trial.measure_agreement(first)
        table.add_row(
            f"{trial.encoder.name} + cut" if trial.is_split else trial.encoder.name,
            f"{trial.size / 1e6:,.0f}",
            *(f"{milliseconds:,.1f} ms" for milliseconds in trial.milliseconds),
            f"{1 / trial.compare_cost(first):.1f}",
            "not heard" if agreed is None else f"{100 * agreed:.1f} %",
            "taken" if trial is outcome.chosen else "kept" if trial.encoder.name in new else "",
        )
    Console().print(table)
    typer.echo(
        "\nMilliseconds of one core for one window, so many at a time; speed 1.0 is that of the first line. "
        "+ cut: with decoding networks in three."
    )
    for note in outcome.notes:
        typer.echo(note)
    for file in outcome.new_files:
        typer.echo(str(file))
    typer.echo(f"A server takes {outcome.chosen.encoder.name} at its next start.")
