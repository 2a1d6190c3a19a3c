"""Making the fastest form of a Parakeet for this machine, in its own folder.

The encoder's products are made of 8-bit integers in two ways (``optimize_graph``), and both are tried out
here; the decoding networks are cut (``optimize_cut``). What was there stays. Work is done in a folder beside
the files, and each file gets its place when all is done: a run that breaks leaves the model as it was.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from echoic.engines import optimize_cut
from echoic.engines.optimize_graph import FEWER_STEPS, STEPS, Graph, by_blocks, by_rows, rewritten, widened
from echoic.engines.optimize_trial import Trial, try_out, weight
from echoic.engines.parakeet_files import CTC, CUT, ENCODER, JOINT, look_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.optimize_graph import Product

ROWS, BLOCKS = "rowint8", "blockint8"
#: Forms that are made, and the values in a block of each.
FORMS: Mapping[str, int] = MappingProxyType({ROWS: 0, BLOCKS: 256})
#: Full precision in the order in which it is taken.
_SOURCES = ("", "fp16")
#: Forms from elsewhere that are timed beside: the usual int8, by whatever name.
_OTHERS = ("int8", "mmint8")
#: Agreement that a form may lack against the one that agrees best.
_SLACK = 0.02
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
        kept: Files that are new in the folder.
        notes: Sentences about what was left out.
    """

    trials: tuple[Trial, ...]
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
    """Make the fastest form of a model and put it beside the others.

    The largest it holds in memory at a time is the form there was, as onnxruntime loads it.

    Args:
        folder: In the layout of ``parakeet_files``, with the encoder in full or half precision.
        audio: Recordings to compare what is heard: float32, 16 kHz, -1..1.
        again: Also if it was done before.
        keep_all: Keep every form that was made, and not the fastest only.
        say: Is told what is done now.

    Raises:
        ModelUnavailable: Something is missing in the folder, or broken.
        NotOptimized: There is nothing to start from, no room, or nothing to gain.
    """
    files = look_through(folder)
    stem = CTC if files.kind == "ctc" else ENCODER
    made = [folder / f"{stem}.{form}.onnx" for form in FORMS]
    if not again and (there := [file for file in made if file.exists()]):
        raise NotOptimized(f"{there[0]} is there already; --again makes it anew.")
    source = _source(folder, stem)
    if source is None:
        raise NotOptimized(
            f"{folder} holds no {stem}.onnx in full precision, which a faster form is made of: "
            f"echoic models get {folder.name} --quantization none"
        )
    _check_room(folder, source)
    fused = None if files.kind == "ctc" else _source(folder, JOINT)
    notes = [] if fused or files.kind == "ctc" else [f"There is no {JOINT}.onnx in full precision to cut."]
    with _workplace(folder) as work:
        cut = None if fused is None else _cut(fused, work, notes)
        say(f"Trying out {source.name}")
        best = replace(files, encoder=source, joint=fused or files.joint, cut=None if fused else files.cut)
        trials = [try_out(best, audio)]
        networks = {"joint": None, "cut": cut} if cut else {"joint": best.joint, "cut": best.cut}
        for form in FORMS:
            say(f"Making {stem}.{form}.onnx")
            encoder = _rewritten(source, work / f"{stem}.{form}.onnx", _product(form))
            trials.append(try_out(replace(files, encoder=encoder, **networks), audio))
        for other in (folder / f"{stem}.{form}.onnx" for form in _OTHERS):
            if other.exists():
                say(f"Trying out {other.name}")
                trials.append(try_out(replace(files, encoder=other), audio))
        winner = fastest(trials)
        chosen = [trial.encoder for trial in trials if trial.encoder.parent == work]
        if not keep_all:
            chosen = [winner.encoder] if winner.encoder in chosen else []
        if not chosen:
            notes.append(f"Nothing is faster here than {winner.encoder.name}.")
        kept = _moved([*(cut or ()), *chosen], folder)
    return Outcome(tuple(trials), tuple(kept), tuple(notes))


def fastest(trials: Sequence[Trial]) -> Trial:
    """Return the fastest of those that agree about as well as any with the first."""
    first = trials[0]
    agreements = [agreed if (agreed := trial.agreement(first)) is not None else 1.0 for trial in trials[1:]]
    good = [
        trial
        for trial, agreed in zip(trials[1:], agreements, strict=True)
        if agreed >= max(agreements) - _SLACK
    ]
    return min((first, *good), key=lambda trial: trial.cost(first))


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
