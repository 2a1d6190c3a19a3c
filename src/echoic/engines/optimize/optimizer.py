"""Makes a faster form of a Parakeet in ONNX for this machine, in the model's own folder.

The encoder's products become 8-bit integers with one scale per row (``quantize``), and the fused decoding
network is split in three (``split``). The result is loaded from then on if it is faster than the original and
recognizes the same tokens. The original files stay. New files are written to a work folder and moved when all
are complete, so an interrupted run leaves the model unchanged.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from filelock import FileLock, Timeout
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from echoic.engines.optimize import split
from echoic.engines.optimize.benchmark import ModelTrial, measure_graph_size, run_trial
from echoic.engines.optimize.manifest import (
    MANIFEST_FILE,
    OptimizedManifest,
    digest_files,
    write_optimized_manifest,
)
from echoic.engines.optimize.quantize import (
    GraphRewriter,
    choose_weight_steps,
    rewrite_products,
    widen_model,
)
from echoic.engines.parakeet.onnx_files import (
    CTC_STEM,
    ENCODER_STEM,
    JOINT_STEM,
    SPLIT_STEMS,
    OnnxModelFiles,
    find_optimized_files,
    inspect_onnx_folder,
)

#: Suffix of the optimized files: 8-bit integers with one scale per row.
ROW_FORM = "rowint8"
#: Unquantized forms that the optimized one can be made from, by suffix; the first that is present is taken.
_SOURCE_FORMS = ("", "fp16")
#: Least share of the original's tokens. Below it more than one token in twenty differs, for which no gain in
#: speed makes up.
_MIN_AGREEMENT = 0.95
#: Bytes of the new files for each byte of the original, and the least free space.
_FREE_SPACE_SHARE, _MIN_FREE_BYTES = 0.6, 50_000_000
#: Bytes from which on tensors are written to a file of their own. onnxruntime maps that file into memory,
#: which halves the memory it needs while it loads; and a single file may not exceed 2 GB.
EXTERNAL_DATA_BYTES = 50_000_000
_WORK_FOLDER = ".optimizing"
_DAMAGE_ERRORS = (DecodeError, OSError, ValueError, onnx.checker.ValidationError)


class OptimizeError(Exception):
    """A model was left unchanged. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class OptimizeResult:
    """The outcome of ``optimize_model``."""

    trials: tuple[ModelTrial, ...]
    """Measurements of the original, then of the optimized model."""
    chosen: ModelTrial
    """The one that is loaded from now on."""
    new_files: tuple[Path, ...]
    """Files that were added to the folder."""
    notes: tuple[str, ...]
    """Sentences about what was left out, and why."""


def optimize_model(
    folder: Path,
    audio: Sequence[NDArray[np.float32]] = (),
    *,
    force: bool = False,
    keep_all: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> OptimizeResult:
    """Make a faster form of a model; use it from now on if it is faster and recognizes the same tokens.

    Without audio in which the original recognizes something, nothing can be compared and the original stays
    in use. Files of an earlier run are removed. Memory peaks at the original as onnxruntime loads it.

    Args:
        folder: In the layout of ``parakeet.onnx_files``, with an encoder in float32 or float16.
        audio: Recordings of speech to compare the tokens of: float32, 16 kHz, -1..1.
        force: Also if the model was optimized before.
        keep_all: Keep the optimized form even if it is not used, and files of earlier runs.
        on_step: Called with a sentence about each step.

    Raises:
        ModelUnavailable: A file is missing or broken.
        OptimizeError: There is no unquantized encoder, no free space, the model was optimized before, or
            another process writes to the folder.
    """
    if not folder.is_dir():
        inspect_onnx_folder(folder)
    with _lock_folder(folder):
        files = inspect_onnx_folder(folder, use_optimized=False)
        stem = CTC_STEM if files.kind == "ctc" else ENCODER_STEM
        earlier = find_optimized_files(folder, stem)
        if earlier and not force:
            raise OptimizeError(f"{earlier[0]} exists already. Use --again to optimize the model again.")
        source = _require_source(folder, stem)
        fused = None if files.kind == "ctc" else _find_source(folder, JOINT_STEM)
        original = replace(files, encoder=source, joint=fused or files.joint)
        sources = digest_files(file for file in (source, fused) if file is not None)
        with _create_work_folder(folder) as work:
            notes: list[str] = []
            optimized = _write_optimized(original, fused, work, notes, on_step)
            trials = tuple(_run_trials((original, optimized), audio, on_step))
            chosen = _choose_trial(trials[0], trials[1], notes)
            write_optimized_manifest(OptimizedManifest(chosen.encoder.name, chosen.networks, sources), work)
            if not keep_all:
                _remove_graphs(earlier)
            (work / MANIFEST_FILE).replace(folder / MANIFEST_FILE)
            is_kept = keep_all or chosen is not trials[0]
            made = [*(optimized.split_joint or ()), optimized.encoder]
            new_files = _move_graphs(made, folder) if is_kept else ()
    return OptimizeResult(trials, chosen, tuple(new_files), tuple(notes))


def _write_optimized(
    original: OnnxModelFiles,
    fused: Path | None,
    work: Path,
    notes: list[str],
    on_step: Callable[[str], None],
) -> OnnxModelFiles:
    """Write the optimized files to ``work`` and return the model that consists of them.

    Raises:
        OptimizeError: A source is damaged or quantized already, or the disk is full.
    """
    stem = CTC_STEM if original.kind == "ctc" else ENCODER_STEM
    weight_steps = choose_weight_steps()
    parts = None
    if fused is not None:
        parts = _write_split_networks(fused, work, weight_steps, notes)
    elif original.kind != "ctc":
        notes.append(f"There is no {JOINT_STEM}.onnx in full precision to split.")
    target = work / f"{stem}.{ROW_FORM}.onnx"
    on_step(f"Making {target.name}")
    _write_quantized(original.encoder, target, weight_steps)
    return replace(original, encoder=target, joint=None if parts else original.joint, split_joint=parts)


def _run_trials(
    models: Iterable[OnnxModelFiles], audio: Sequence[NDArray[np.float32]], on_step: Callable[[str], None]
) -> Iterator[ModelTrial]:
    for files in models:
        on_step(f"Trying out {files.encoder.name}")
        yield run_trial(files, audio)


def _choose_trial(original: ModelTrial, optimized: ModelTrial, notes: list[str]) -> ModelTrial:
    """Return the trial of the model to use; note why it is the original, if it is."""
    agreement = optimized.measure_agreement(original)
    if original.measure_agreement(original) is None:
        notes.append(
            f"{original.encoder.name} recognized nothing in the recordings, so nothing can be compared and "
            "it stays in use. Give --audio with speech in a language that the model knows."
        )
    elif agreement is None or agreement < _MIN_AGREEMENT:
        notes.append(
            f"{optimized.encoder.name} recognized fewer than {_MIN_AGREEMENT:.0%} of the tokens of "
            f"{original.encoder.name}, so it is not used. Use --audio to compare with speech of your own."
        )
    elif optimized.compare_cost(original) >= 1:
        notes.append(
            f"{optimized.encoder.name} is not faster here than {original.encoder.name}, which stays in use."
        )
    else:
        return optimized
    return original


def _find_source(folder: Path, stem: str) -> Path | None:
    names = (f"{stem}.{form}.onnx" if form else f"{stem}.onnx" for form in _SOURCE_FORMS)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _require_source(folder: Path, stem: str) -> Path:
    """Return the unquantized encoder, after a check for free disk space."""
    source = _find_source(folder, stem)
    if source is None:
        raise OptimizeError(
            f"{folder} has no {stem}.onnx in full precision to optimize: "
            f"echoic models get {folder.name} --quantization none"
        )
    needed = max(round(measure_graph_size(source) * _FREE_SPACE_SHARE), _MIN_FREE_BYTES)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OptimizeError(
            f"{folder} has {free / 1e6:,.0f} MB of free space and {needed / 1e6:,.0f} MB are needed: "
            "make room and try again."
        )
    return source


@contextmanager
def _reporting_damage(file: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE_ERRORS as damage:
        raise OptimizeError(
            f"{file} cannot be read: it is cut off or damaged, or a file beside it (.data) is missing. Fetch "
            f"it again: echoic models get {file.parent.name} --quantization none"
        ) from damage


def _load_float32(file: Path) -> onnx.ModelProto:
    """Return a model in float32; external tensors are not loaded."""
    return widen_model(onnx.load(file, load_external_data=False), file.parent)


def _write_quantized(source: Path, target: Path, weight_steps: int) -> None:
    with _reporting_damage(source):
        graph = GraphRewriter(_load_float32(source), source.parent, weight_steps)
        count = rewrite_products(graph)
        model = graph.build_model()
    if not count:
        raise OptimizeError(f"{source} has no products in full precision: it is quantized already.")
    _save_model(model, target)


def _write_split_networks(
    fused: Path, work: Path, weight_steps: int, notes: list[str]
) -> tuple[Path, Path, Path] | None:
    """Write the fused network as three; return None, with a note, if its structure is another."""
    try:
        with _reporting_damage(fused):
            weights = split.read_decoder_weights(_load_float32(fused), fused.parent)
    except split.SplitError as difference:
        notes.append(f"{fused.name} was not split. {difference}")
        return None
    builders = (split.build_projection_graph, split.build_prediction_graph, split.build_joint_graph)
    first, second, third = (work / f"{stem}.{ROW_FORM}.onnx" for stem in SPLIT_STEMS)
    for build_graph, target in zip(builders, (first, second, third), strict=True):
        _save_model(build_graph(weights, weight_steps), target)
    return first, second, third


def _save_model(model: onnx.ModelProto, target: Path) -> None:
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    is_large = size >= EXTERNAL_DATA_BYTES
    try:
        onnx.save(model, target, save_as_external_data=is_large, location=f"{target.name}.data")
    except OSError as failure:
        raise OptimizeError(
            f"{target.parent} cannot be written: {failure.strerror}. The model is unchanged."
        ) from failure


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock that ``store.download`` takes too, so that one process at a time writes to the folder.

    The lock file lies in the folder itself where the folder above is read-only, since nothing is downloaded
    there.
    """
    place = folder.absolute()
    is_beside = os.access(place.parent, os.W_OK)
    try:
        with FileLock(place.with_name(f".{place.name}.lock") if is_beside else place / ".lock", timeout=0):
            yield
    except Timeout:
        raise OptimizeError(f"Another process is writing to {folder.name}; try again later.") from None
    except PermissionError as failure:
        raise OptimizeError(f"{folder} cannot be written: {failure.strerror}.") from failure


@contextmanager
def _create_work_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``, removed afterwards."""
    work = folder / _WORK_FOLDER
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as failure:
        raise OptimizeError(f"{folder} cannot be written: {failure.strerror}.") from failure
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_graphs(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink()
        file.with_name(f"{file.name}.data").unlink(missing_ok=True)


def _move_graphs(files: Sequence[Path], folder: Path) -> list[Path]:
    """Move graphs to ``folder``, each after its external tensors; return the new paths."""
    for file in files:
        for one in (file.with_name(f"{file.name}.data"), file):
            if one.exists():
                one.replace(folder / one.name)
    return [folder / file.name for file in files]
