"""Making the fastest form of a Parakeet for this machine, in its own folder.

The encoder's products are made of 8-bit integers in two ways (``optimize_graph``), and both are tried out
here; the decoding networks are cut (``optimize_cut``). The originals stay. Work is done in a folder beside
the files, and each file gets its place when all is done: a run that breaks leaves the model as it was. What
was chosen is written down beside them, and that is what is loaded (``parakeet_record``).
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from filelock import FileLock, Timeout
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from echoic.engines import optimize_cut
from echoic.engines.optimize_graph import FEWER_STEPS, STEPS, Graph, by_blocks, by_rows, rewritten, widened
from echoic.engines.optimize_trial import Trial, try_out, weight
from echoic.engines.parakeet_files import CTC, CUT, ENCODER, JOINT, MADE, look_through, made_files
from echoic.engines.parakeet_record import RECORD, Record, marks, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.optimize_graph import Product
    from echoic.engines.parakeet_files import ModelFiles

ROWS, BLOCKS = MADE
#: Forms that are made, and the values in a block of each.
FORMS: Mapping[str, int] = MappingProxyType({ROWS: 0, BLOCKS: 256})
#: Full precision in the order in which it is taken.
_SOURCES = ("", "fp16")
#: Forms from elsewhere that are timed beside: the usual int8, by whatever name.
_OTHERS = ("int8", "mmint8")
#: Agreement that a form may lack against the one that agrees best.
_SLACK = 0.02
#: Agreement with the original that a form has at least: below it hears more than one token in twenty
#: otherwise, which no time that is gained makes up for.
_AGREEMENT = 0.95
#: Bytes of the new files together for each of the source's, and the least of free space.
_SHARE, _LEAST = 0.6, 50_000_000
#: Bytes from which large tensors lie in a file of their own: onnxruntime maps that into memory, and so needs
#: half as much while it loads. (A graph with all of them inside could not exceed 2 GB.)
LARGE = 50_000_000
_WORK = ".optimizing"
_DAMAGED = (DecodeError, OSError, ValueError, onnx.checker.ValidationError)


class NotOptimized(Exception):
    """A model was left as it was, with a sentence about why and what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done.

    Attributes:
        trials: The form there was, then those that were tried out.
        taken: The one that is loaded from now on.
        kept: Files that are new in the folder.
        notes: Sentences about what was left out.
    """

    trials: tuple[Trial, ...]
    taken: Trial
    kept: tuple[Path, ...]
    notes: tuple[str, ...]


def optimize(
    folder: Path,
    audio: Sequence[NDArray[np.float32]] = (),
    *,
    again: bool = False,
    keep_all: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Make the fastest form of a model, put it beside the others and have it loaded from now on.

    If nothing is faster, or nothing that is faster hears the same, the original is loaded, and a note says
    so: so it is without audio in which something is heard. Forms of an earlier run are removed. The largest
    it holds in memory at a time is the form there was, as onnxruntime loads it.

    Args:
        folder: In the layout of ``parakeet_files``, with the encoder in full or half precision.
        audio: Recordings to compare what is heard: float32, 16 kHz, -1..1.
        again: Also if it was done before.
        keep_all: Keep every form that was made, and those of earlier runs.
        say: Is told what is done now.

    Raises:
        ModelUnavailable: Something is missing in the folder, or broken.
        NotOptimized: There is nothing to start from, no room, it was done before, or another process makes or
            fetches this model now.
    """
    if not folder.is_dir():
        look_through(folder)
    with _alone(folder):
        files = look_through(folder, made=False)
        stem = CTC if files.kind == "ctc" else ENCODER
        there = made_files(folder, stem)
        if there and not again:
            raise NotOptimized(f"{there[0]} is there already; --again makes it anew.")
        source = _source(folder, stem)
        if source is None:
            raise NotOptimized(
                f"{folder} holds no {stem}.onnx in full precision, which a faster form is made of: "
                f"echoic models get {folder.name} --quantization none"
            )
        _check_room(folder, source)
        fused = None if files.kind == "ctc" else _source(folder, JOINT)
        before = replace(files, encoder=source, joint=fused or files.joint)
        sources = marks(file for file in (source, fused) if file is not None)
        with _workplace(folder) as work:
            found = _Search((files, before), work, audio, say).search(fused)
            record = Record(found.taken.encoder.name, found.taken.networks, sources)
            write_record(record, work)
            makings = [
                *dict.fromkeys(trial.encoder for trial in found.trials if trial.encoder.parent == work)
            ]
            chosen = makings if keep_all else [one for one in makings if one == found.taken.encoder]
            cut = [file for file in found.cut if keep_all or file.name in found.taken.networks]
            if not keep_all:
                _remove(there)
            (work / RECORD).replace(folder / RECORD)
            kept = _moved([*cut, *chosen], folder)
    return Outcome(tuple(found.trials), found.taken, tuple(kept), tuple(found.notes))


class _Search:
    """The search for the form of a model that is taken.

    Attributes:
        trials: What was tried out.
        notes: Sentences about what was left out.
        taken: The form that is taken.
        cut: The networks in three that were made.
    """

    def __init__(
        self,
        before: tuple[ModelFiles, ModelFiles],
        work: Path,
        audio: Sequence[NDArray[np.float32]],
        say: Callable[[str], None],
    ) -> None:
        self._others, self._before = before
        self._work, self._audio, self._say = work, audio, say
        self.trials: list[Trial] = []
        self.notes: list[str] = []
        self.cut: tuple[Path, ...] = ()

    def search(self, fused: Path | None) -> _Search:
        """Make the forms, try them out and choose; ``fused`` is the graph to cut."""
        before, folder = self._before, self._before.encoder.parent
        stem = CTC if before.kind == "ctc" else ENCODER
        if fused is None and before.kind != "ctc":
            self.notes.append(f"There is no {JOINT}.onnx in full precision to cut.")
        cut = None if fused is None else _cut(fused, self._work, self.notes)
        self.cut = cut or ()
        self._try(before)
        whole = replace(before, joint=None, cut=cut) if cut else before
        for form in FORMS:
            self._say(f"Making {stem}.{form}.onnx")
            target = self._work / f"{stem}.{form}.onnx"
            self._try(replace(whole, encoder=_rewritten(before.encoder, target, _product(form))))
        for other in (folder / f"{stem}.{form}.onnx" for form in _OTHERS):
            if other.exists():
                self._try(replace(self._others, encoder=other))
        self.taken = fastest(self.trials)
        if cut and self.taken.networks != tuple(file.name for file in cut):
            self._try(replace(whole, encoder=self.taken.encoder))
            if _agrees(self.trials[-1], self.trials[0]):
                self.taken = self.trials[-1]
        self._explain()
        return self

    def _try(self, files: ModelFiles) -> None:
        self._say(f"Trying out {files.encoder.name}")
        self.trials.append(try_out(files, self._audio))

    def _explain(self) -> None:
        """Say why the form there was is taken, if it is."""
        first, *others = self.trials
        if self.taken.encoder.parent == self._work:
            return
        if first.agreement(first) is None:
            self.notes.append(
                f"{first.encoder.name} hears nothing in the recordings, so nothing can be compared and it "
                "stays: give --audio with speech in a language that it knows."
            )
        elif off := [trial for trial in others if not _agrees(trial, first)]:
            names = ", ".join(dict.fromkeys(trial.encoder.name for trial in off))
            self.notes.append(
                f"{names}: fewer than {_AGREEMENT:.0%} of the tokens are those that {first.encoder.name} "
                "hears, so none of them is taken. --audio compares with speech of your own."
            )
        else:
            self.notes.append(f"Nothing that hears the same is faster here than {self.taken.encoder.name}.")


def fastest(trials: Sequence[Trial]) -> Trial:
    """Return the fastest of those that agree with the first, and about as well as any; or the first."""
    first = trials[0]
    agreements = [trial.agreement(first) or 0.0 for trial in trials[1:]]
    least = max(_AGREEMENT, max(agreements, default=0.0) - _SLACK)
    good = [trial for trial, agreed in zip(trials[1:], agreements, strict=True) if agreed >= least]
    return min((first, *good), key=lambda trial: trial.cost(first))


def _agrees(trial: Trial, first: Trial) -> bool:
    return (trial.agreement(first) or 0.0) >= _AGREEMENT


def exact_products() -> bool:
    """Return whether products of 8 bits by 8 are exact here: some processors add them up in 16 bits."""
    depth = 64
    node = helper.make_node(
        "MatMulIntegerToFloat", ["a", "b", "one", "one", "zero"], ["c"], domain="com.microsoft"
    )
    constants: dict[str, NDArray[np.generic]] = {
        "b": np.full((depth, 16), STEPS, np.int8),
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
    return bool((product == 255 * STEPS * depth).all())


def _product(form: str) -> Product:
    if size := FORMS[form]:
        return by_blocks(size)
    return by_rows(STEPS if exact_products() else FEWER_STEPS)


def _source(folder: Path, stem: str) -> Path | None:
    names = (f"{stem}.{form}.onnx" if form else f"{stem}.onnx" for form in _SOURCES)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _check_room(folder: Path, source: Path) -> None:
    needed = max(round(weight(source) * _SHARE), _LEAST)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise NotOptimized(
            f"{folder} has {free / 1e6:,.0f} MB of free space and {needed / 1e6:,.0f} MB are needed: "
            "make room and try again."
        )


def _opened(file: Path) -> onnx.ModelProto:
    """Return a graph in full precision; its large tensors stay where they are."""
    try:
        return widened(onnx.load(file, load_external_data=False), file.parent)
    except _DAMAGED as damage:
        raise _damaged(file) from damage


def _rewritten(source: Path, target: Path, product: Product) -> Path:
    model = _opened(source)
    try:
        model, count = rewritten(Graph(model, source.parent), product)
    except _DAMAGED as damage:
        raise _damaged(source) from damage
    if not count:
        raise NotOptimized(f"{source} holds no products in full precision: it is quantized already.")
    return _written(model, target)


def _cut(fused: Path, work: Path, notes: list[str]) -> tuple[Path, Path, Path] | None:
    model, product = _opened(fused), _product(ROWS)
    try:
        parts = optimize_cut.read_parts(model, fused.parent)
    except optimize_cut.NotCut as difference:
        notes.append(f"{fused.name} stays in one piece. {difference}")
        return None
    except _DAMAGED as damage:
        raise _damaged(fused) from damage
    makers = (optimize_cut.projection, optimize_cut.prediction, optimize_cut.joint)
    first, second, third = (
        _written(make(parts, product), work / f"{stem}.{ROWS}.onnx")
        for stem, make in zip(CUT, makers, strict=True)
    )
    return first, second, third


def _written(model: onnx.ModelProto, target: Path) -> Path:
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) >= LARGE
    try:
        onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data")
    except OSError as failure:
        raise NotOptimized(
            f"{target.parent} cannot be written: {failure.strerror}. The model is as it was."
        ) from failure
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
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
        raise NotOptimized(f"Another process makes or fetches {folder.name} now; try again later.") from None
    except PermissionError as failure:
        raise NotOptimized(f"{folder} cannot be written: {failure.strerror}.") from failure


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Yield an empty folder in ``folder``; it is gone afterwards."""
    work = folder / _WORK
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as failure:
        raise NotOptimized(f"{folder} cannot be written: {failure.strerror}.") from failure
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove(files: Sequence[Path]) -> None:
    """Remove graphs and their large tensors."""
    for file in files:
        file.unlink()
        file.with_name(f"{file.name}.data").unlink(missing_ok=True)


def _moved(files: Sequence[Path], folder: Path) -> list[Path]:
    """Give files their places, large tensors before the graph that reads them; return where they are."""
    places = []
    for file in files:
        data = file.with_name(f"{file.name}.data")
        for one in (data, file):
            if one.exists():
                one.replace(folder / one.name)
        places.append(folder / file.name)
    return places


def _damaged(file: Path) -> NotOptimized:
    return NotOptimized(
        f"{file} cannot be read: it is cut off or damaged, or a file beside it (.data) is missing. Fetch it "
        f"again: echoic models get {file.parent.name} --quantization none"
    )
