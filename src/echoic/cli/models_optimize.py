"""``echoic models optimize``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import give_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from echoic.engines.optimize import Outcome

_INSTALL = "pip install 'echoic[optimize]'"
#: Seconds of a recording that are heard in one go, and of all recordings together.
_PIECE, _MOST = 20.0, 120.0
_RATE = 16_000


def optimize(
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
        from echoic.engines.optimize import NotOptimized
        from echoic.engines.optimize import optimize as made_faster
    except ImportError:
        give_up(f"This wants the package onnx: {_INSTALL}")
    from echoic.errors import ModelUnavailable

    folder = _folder(model)
    try:
        outcome = made_faster(
            folder,
            _recordings(audio),
            again=again,
            keep_all=keep_all,
            say=lambda sentence: typer.echo(sentence, err=True),
        )
    except ModelUnavailable as refusal:
        give_up(str(refusal))
    except NotOptimized as refusal:
        give_up(str(refusal))
    _show(outcome)


def _folder(model: str | None) -> Path:
    """Return the folder that is meant."""
    from echoic.cli.places import models_folder, settings_here
    from echoic.engines.weights import find_model

    if model is not None:
        named = models_folder() / model
        return named if named.is_dir() and "/" not in model else Path(model).resolve()
    found = settings_here().parakeet_onnx_dir or find_model(models_folder())
    if found is None:
        from echoic.engines.parakeet_files import INSTALL

        give_up(f"There is no Parakeet in ONNX here: {INSTALL} --quantization none")
    return found


def _recordings(place: Path | None) -> "list[NDArray[np.float32]]":
    """Return pieces of the recordings to compare by: those of a place, or the demo's."""
    from itertools import islice

    from echoic.cli.demo import demo_recording
    from echoic.media import UnreadableAudio, read_audio

    if place is None:
        place = demo_recording()
        if place is None:
            return []
    files = sorted(one for one in place.iterdir() if one.is_file()) if place.is_dir() else [place]
    pieces: list[NDArray[np.float32]] = []
    for file in files:
        try:
            pieces += islice(read_audio(file, _RATE, chunk=_PIECE), round(_MOST / _PIECE) - len(pieces))
        except UnreadableAudio as refusal:
            if len(files) == 1:
                give_up(str(refusal))
    if files and not pieces:
        give_up(f"No file in {place} can be read as audio.")
    return pieces


def _show(outcome: "Outcome") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from echoic.engines.optimize_trial import CASES

    first = outcome.trials[0]
    cases = [f"{windows} of {seconds:g} s" for seconds, windows in CASES]
    table = Table(
        Column("Encoder", no_wrap=True), "MB", *cases, "Speed", "Same tokens", "", box=None, pad_edge=False
    )
    new = {file.name for file in outcome.kept}
    for trial in outcome.trials:
        agreed = trial.agreement(first)
        table.add_row(
            f"{trial.encoder.name} + cut" if trial.cut else trial.encoder.name,
            f"{trial.size / 1e6:,.0f}",
            *(f"{milliseconds:,.1f} ms" for milliseconds in trial.milliseconds),
            f"{1 / trial.cost(first):.1f}",
            "not heard" if agreed is None else f"{100 * agreed:.1f} %",
            "taken" if trial is outcome.taken else "kept" if trial.encoder.name in new else "",
        )
    Console().print(table)
    typer.echo(
        "\nMilliseconds of one core for one window, so many at a time; speed 1.0 is that of the first line. "
        "+ cut: with decoding networks in three."
    )
    for note in outcome.notes:
        typer.echo(note)
    for file in outcome.kept:
        typer.echo(str(file))
    typer.echo(f"A server takes {outcome.taken.encoder.name} at its next start.")
