"""Making the fastest form of a Parakeet for this machine, in its own folder.

The encoder's products are made of 8-bit integers in two ways (``optimize_graph``), and both are tried out
here; the decoding networks are cut (``optimize_cut``). The originals stay. Work is done in a folder beside
the files, and each file gets its place when all is done: a run that breaks leaves the model as it was. What
was chosen is written down beside them, and that is what is loaded (``parakeet_record``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime as ort
from filelock import FileLock, Timeout
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from echoic.engines.optimize import split
from echoic.engines.optimize.benchmark import FormTrial, measure_graph_size, run_trial
from echoic.engines.optimize.manifest import (
    MANIFEST_FILE,
    OptimizedManifest,
    digest_files,
    write_optimized_manifest,
)
from echoic.engines.optimize.quantize import (
    QUANTIZATION_STEPS,
    REDUCED_STEPS,
    GraphRewriter,
    ProductBuilder,
    build_block_product,
    build_row_product,
    rewrite_products,
    widen_model,
)
from echoic.engines.parakeet.onnx_files import (
    CTC_STEM,
    ENCODER_STEM,
    JOINT_STEM,
    OPTIMIZED_FORMS,
    SPLIT_STEMS,
    OnnxModelFiles,
    find_optimized_files,
    inspect_onnx_folder,
)

ROW_FORM, BLOCK_FORM = OPTIMIZED_FORMS
#: Forms that are made, and the values in a block of each.
FORM_BLOCK_SIZES: Mapping[str, int] = MappingProxyType({ROW_FORM: 0, BLOCK_FORM: 256})
#: Full precision in the order in which it is taken.
_SOURCE_FORMS = ("", "fp16")
#: Forms from elsewhere that are timed beside: the usual int8, by whatever name.
_COMPARED_FORMS = ("int8", "mmint8")
#: Agreement that a form may lack against the one that agrees best.
_AGREEMENT_SLACK = 0.02
#: Agreement with the original that a form has at least: below it hears more than one token in twenty
#: otherwise, which no time that is gained makes up for.
_MIN_AGREEMENT = 0.95
#: Bytes of the new files together for each of the source's, and the least of free space.
_FREE_SPACE_SHARE, _MIN_FREE_BYTES = 0.6, 50_000_000
#: Bytes from which large tensors lie in a file of their own: onnxruntime maps that into memory, and so needs
#: half as much while it loads. (A graph with all of them inside could not exceed 2 GB.)
EXTERNAL_DATA_BYTES = 50_000_000
_WORK_FOLDER = ".optimizing"
_DAMAGE_ERRORS = (DecodeError, OSError, ValueError, onnx.checker.ValidationError)


class OptimizeError(Exception):
    """A model was left as it was, with a sentence about why and what to do."""


@dataclass(frozen=True, slots=True)
class OptimizeResult:
    """What was done.

    Attributes:
        trials: The form there was, then those that were tried out.
        chosen: The one that is loaded from now on.
        new_files: Files that are new in the folder.
        notes: Sentences about what was left out.
    """

    trials: tuple[FormTrial, ...]
    chosen: FormTrial
    new_files: tuple[Path, ...]
    notes: tuple[str, ...]


def optimize_model(
    folder: Path,
    audio: Sequence[NDArray[np.float32]] = (),
    *,
    force: bool = False,
    keep_all: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> OptimizeResult:
    """Make the fastest form of a model, put it beside the others and have it loaded from now on.

    If nothing is faster, or nothing that is faster hears the same, the original is loaded, and a note says
    so: so it is without audio in which something is heard. Forms of an earlier run are removed. The largest
    it holds in memory at a time is the form there was, as onnxruntime loads it.

    Args:
        folder: In the layout of ``parakeet_files``, with the encoder in full or half precision.
        audio: Recordings to compare what is heard: float32, 16 kHz, -1..1.
        force: Also if it was done before.
        keep_all: Keep every form that was made, and those of earlier runs.
        on_step: Is told what is done now.

    Raises:
        ModelUnavailable: Something is missing in the folder, or broken.
        NotOptimized: There is nothing to start from, no room, it was done before, or another process makes or
            fetches this model now.
    """
    if not folder.is_dir():
        inspect_onnx_folder(folder)
    with _lock_model(folder):
        files = inspect_onnx_folder(folder, use_optimized=False)
        stem = CTC_STEM if files.kind == "ctc" else ENCODER_STEM
        there = find_optimized_files(folder, stem)
        if there and not force:
            raise OptimizeError(f"{there[0]} is there already; --again makes it anew.")
        source = _find_source(folder, stem)
        if source is None:
            raise OptimizeError(
                f"{folder} holds no {stem}.onnx in full precision, which a faster form is made of: "
                f"echoic models get {folder.name} --quantization none"
            )
        _check_free_space(folder, source)
        fused = None if files.kind == "ctc" else _find_source(folder, JOINT_STEM)
        before = replace(files, encoder=source, joint=fused or files.joint)
        sources = digest_files(file for file in (source, fused) if file is not None)
        with _create_work_folder(folder) as work:
            found = _FormSearch((files, before), work, audio, on_step).run_search(fused)
            record = OptimizedManifest(found.chosen.encoder.name, found.chosen.networks, sources)
            write_optimized_manifest(record, work)
            makings = [
                *dict.fromkeys(trial.encoder for trial in found.trials if trial.encoder.parent == work)
            ]
            chosen = makings if keep_all else [one for one in makings if one == found.chosen.encoder]
            cut = [file for file in found.split_files if keep_all or file.name in found.chosen.networks]
            if not keep_all:
                _remove_graphs(there)
            (work / MANIFEST_FILE).replace(folder / MANIFEST_FILE)
            kept = _move_files([*cut, *chosen], folder)
    return OptimizeResult(tuple(found.trials), found.chosen, tuple(kept), tuple(found.notes))


class _FormSearch:
    """The search for the form of a model that is taken.

    Attributes:
        trials: What was tried out.
        notes: Sentences about what was left out.
        chosen: The form that is taken.
        split_files: The networks in three that were made.
    """

    def __init__(
        self,
        published_and_original: tuple[OnnxModelFiles, OnnxModelFiles],
        work_folder: Path,
        audio: Sequence[NDArray[np.float32]],
        on_step: Callable[[str], None],
    ) -> None:
        self._published, self._original = published_and_original
        self._work_folder, self._audio, self._on_step = work_folder, audio, on_step
        self.trials: list[FormTrial] = []
        self.notes: list[str] = []
        self.split_files: tuple[Path, ...] = ()

    def run_search(self, fused: Path | None) -> _FormSearch:
        """Make the forms, try them out and choose; ``fused`` is the graph to cut."""
        before, folder = self._original, self._original.encoder.parent
        stem = CTC_STEM if before.kind == "ctc" else ENCODER_STEM
        if fused is None and before.kind != "ctc":
            self.notes.append(f"There is no {JOINT_STEM}.onnx in full precision to cut.")
        cut = None if fused is None else _split_networks(fused, self._work_folder, self.notes)
        self.split_files = cut or ()
        self._add_trial(before)
        whole = replace(before, joint=None, split_joint=cut) if cut else before
        for form in FORM_BLOCK_SIZES:
            self._on_step(f"Making {stem}.{form}.onnx")
            target = self._work_folder / f"{stem}.{form}.onnx"
            self._add_trial(
                replace(whole, encoder=_write_quantized(before.encoder, target, _build_product(form)))
            )
        for other in (folder / f"{stem}.{form}.onnx" for form in _COMPARED_FORMS):
            if other.exists():
                self._add_trial(replace(self._published, encoder=other))
        self.chosen = pick_fastest(self.trials)
        if cut and self.chosen.networks != tuple(file.name for file in cut):
            self._add_trial(replace(whole, encoder=self.chosen.encoder))
            if _has_enough_agreement(self.trials[-1], self.trials[0]):
                self.chosen = self.trials[-1]
        self._explain_choice()
        return self

    def _add_trial(self, files: OnnxModelFiles) -> None:
        self._on_step(f"Trying out {files.encoder.name}")
        self.trials.append(run_trial(files, self._audio))

    def _explain_choice(self) -> None:
        """Say why the form there was is taken, if it is."""
        first, *others = self.trials
        if self.chosen.encoder.parent == self._work_folder:
            return
        if first.measure_agreement(first) is None:
            self.notes.append(
                f"{first.encoder.name} hears nothing in the recordings, so nothing can be compared and it "
                "stays: give --audio with speech in a language that it knows."
            )
        elif off := [trial for trial in others if not _has_enough_agreement(trial, first)]:
            names = ", ".join(dict.fromkeys(trial.encoder.name for trial in off))
            self.notes.append(
                f"{names}: fewer than {_MIN_AGREEMENT:.0%} of the tokens are those that {first.encoder.name} "
                "hears, so none of them is taken. --audio compares with speech of your own."
            )
        else:
            self.notes.append(f"Nothing that hears the same is faster here than {self.chosen.encoder.name}.")


def pick_fastest(trials: Sequence[FormTrial]) -> FormTrial:
    """Return the fastest of those that agree with the first, and about as well as any; or the first."""
    first = trials[0]
    agreements = [trial.measure_agreement(first) or 0.0 for trial in trials[1:]]
    least = max(_MIN_AGREEMENT, max(agreements, default=0.0) - _AGREEMENT_SLACK)
    good = [trial for trial, agreed in zip(trials[1:], agreements, strict=True) if agreed >= least]
    return min((first, *good), key=lambda trial: trial.compare_cost(first))


def _has_enough_agreement(trial: FormTrial, first: FormTrial) -> bool:
    return (trial.measure_agreement(first) or 0.0) >= _MIN_AGREEMENT


def has_exact_products() -> bool:
    """Return whether products of 8 bits by 8 are exact here: some processors add them up in 16 bits."""
    depth = 64
    node = helper.make_node(
        "MatMulIntegerToFloat", ["a", "b", "one", "one", "zero"], ["c"], domain="com.microsoft"
    )
    constants: dict[str, NDArray[np.generic]] = {
        "b": np.full((depth, 16), QUANTIZATION_STEPS, np.int8),
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
    }
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["rows", depth])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["rows", 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": np.full((2, depth), 255, np.uint8)})
    return bool((product == 255 * QUANTIZATION_STEPS * depth).all())


def _build_product(form: str) -> ProductBuilder:
    if size := FORM_BLOCK_SIZES[form]:
        return build_block_product(size)
    return build_row_product(QUANTIZATION_STEPS if has_exact_products() else REDUCED_STEPS)


def _find_source(folder: Path, stem: str) -> Path | None:
    names = (f"{stem}.{form}.onnx" if form else f"{stem}.onnx" for form in _SOURCE_FORMS)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _check_free_space(folder: Path, source: Path) -> None:
    needed = max(round(measure_graph_size(source) * _FREE_SPACE_SHARE), _MIN_FREE_BYTES)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OptimizeError(
            f"{folder} has {free / 1e6:,.0f} MB of free space and {needed / 1e6:,.0f} MB are needed: "
            "make room and try again."
        )


def _load_full_precision(file: Path) -> onnx.ModelProto:
    """Return a graph in full precision; its large tensors stay where they are."""
    try:
        return widen_model(onnx.load(file, load_external_data=False), file.parent)
    except _DAMAGE_ERRORS as damage:
        raise _build_damage_error(file) from damage


def _write_quantized(source: Path, target: Path, product: ProductBuilder) -> Path:
    model = _load_full_precision(source)
    try:
        model, count = rewrite_products(GraphRewriter(model, source.parent), product)
    except _DAMAGE_ERRORS as damage:
        raise _build_damage_error(source) from damage
    if not count:
        raise OptimizeError(f"{source} holds no products in full precision: it is quantized already.")
    return _write_model(model, target)


def _split_networks(fused: Path, work: Path, notes: list[str]) -> tuple[Path, Path, Path] | None:
    model, product = _load_full_precision(fused), _build_product(ROW_FORM)
    try:
        parts = split.read_decoder_weights(model, fused.parent)
    except split.SplitError as difference:
        notes.append(f"{fused.name} stays in one piece. {difference}")
        return None
    except _DAMAGE_ERRORS as damage:
        raise _build_damage_error(fused) from damage
    makers = (
        split.build_projection_graph,
        split.build_prediction_graph,
        split.build_joint_graph,
    )
    first, second, third = (
        _write_model(make(parts, product), work / f"{stem}.{ROW_FORM}.onnx")
        for stem, make in zip(SPLIT_STEMS, makers, strict=True)
    )
    return first, second, third


def _write_model(model: onnx.ModelProto, target: Path) -> Path:
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) >= EXTERNAL_DATA_BYTES
    try:
        onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data")
    except OSError as failure:
        raise OptimizeError(
            f"{target.parent} cannot be written: {failure.strerror}. The model is as it was."
        ) from failure
    return target


@contextmanager
def _lock_model(folder: Path) -> Iterator[None]:
    """Let no other process make or fetch this model meanwhile: the lock is that of ``fetch``.

    Where nothing may be written beside the folder nobody fetches it, and the lock lies in it.
    """
    place = folder.absolute()
    if os.access(place.parent, os.W_OK):
        place = place.with_name(f".{place.name}.lock")
    else:
        place /= ".lock"
    try:
        with FileLock(place, timeout=0):
            yield
    except Timeout:
        raise OptimizeError(f"Another process makes or fetches {folder.name} now; try again later.") from None
    except PermissionError as failure:
        raise OptimizeError(f"{folder} cannot be written: {failure.strerror}.") from failure


@contextmanager
def _create_work_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder in ``folder``; it is gone afterwards."""
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
    """Remove graphs and their large tensors."""
    for file in files:
        file.unlink()
        file.with_name(f"{file.name}.data").unlink(missing_ok=True)


def _move_files(files: Sequence[Path], folder: Path) -> list[Path]:
    """Give files their places, large tensors before the graph that reads them; return where they are."""
    places = []
    for file in files:
        data = file.with_name(f"{file.name}.data")
        for one in (data, file):
            if one.exists():
                one.replace(folder / one.name)
        places.append(folder / file.name)
    return places


def _build_damage_error(file: Path) -> OptimizeError:
    return OptimizeError(
        f"{file} cannot be read: it is cut off or damaged, or a file beside it (.data) is missing. Fetch it "
        f"again: echoic models get {file.parent.name} --quantization none"
    )
