"""The greedy decode loop against onnx-asr's and sherpa-onnx's: the same networks, the same frames.

The encoder is a stub that costs nothing. sherpa-onnx runs in a process of its own (``greedy_sherpa``), since
it brings an onnxruntime of its own; it is left out where it is not installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import report
from benchmarks.process import child_environment
from benchmarks.true_shapes import encoders, milliseconds, optimized, session, shape_folders, stub_frames
from echoic.engines.optimize import ROWS
from echoic.engines.parakeet_files import CUT, JOINT, look_through
from echoic.engines.parakeet_onnx import Runtime, load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from benchmarks.report import Cell
    from echoic.engines.decoder import Decoder

AIM = 4.0
_LANES = (1, 2, 4, 8, 16)
_SECONDS = 5.0
_OURS, _THEIRS = "ours, optimized", "onnx-asr, int8"


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    figures: dict[str, object] = {"aim": AIM, "seconds": _SECONDS}
    for folder in shape_folders():
        with tempfile.TemporaryDirectory() as place:
            ways = _ways(optimized(folder), Path(place))
            rows: list[list[Cell]] = []
            for lanes in _LANES[1:4:2] if quick else _LANES:
                frames = stub_frames(folder, lanes, _SECONDS)
                if lanes == _LANES[-1]:
                    print(f"  {_rate(ways[_OURS](frames), frames):.2f} tokens a frame")
                least = milliseconds(
                    {name: partial(way, frames) for name, way in ways.items()}, 3 if quick else 6
                )
                least |= _sherpa(folder, lanes)
                rows.append([str(lanes), *least.values(), least[_THEIRS] / least[_OURS]])
            header = ["lanes", *least, f"{_THEIRS} / {_OURS}"]
        report.table(f"Decode loop, {folder.name}: ms for lanes of {_SECONDS:g} s", header, rows)
        figures[folder.name] = [dict(zip(header, row, strict=True)) for row in rows]
        _share(folder, figures)
    if len(figures) > 2:
        report.save("greedy", figures)


def _ways(folder: Path, place: Path) -> dict[str, Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]]:
    ours = {
        "ours, optimized": [f"{stem}.{ROWS}.onnx" for stem in CUT],
        "ours, fp32": [f"{JOINT}.onnx"],
        "ours, int8": [f"{JOINT}.int8.onnx"],
    }
    ways: dict[str, Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]] = {}
    for name, files in ours.items():
        form = _stubbed(folder, place / name, files)
        ways[name] = partial(_decoded, load_model(look_through(form), Runtime()).decoder)
    for name, file in (("onnx-asr, fp32", f"{JOINT}.onnx"), (_THEIRS, f"{JOINT}.int8.onnx")):
        form = _stubbed(folder, place / name, [file], as_file=f"{JOINT}.onnx")
        ways[name] = _onnx_asr(form)
    return ways


def _stubbed(folder: Path, form: Path, files: Sequence[str], as_file: str | None = None) -> Path:
    """Return a folder with the stub for an encoder and these decoding networks."""
    form.mkdir()
    shutil.copy(folder / "stub.onnx", form / "encoder-model.onnx")
    for name in ("vocab.txt", "config.json", *files):
        shutil.copy(folder / name, form / (as_file if as_file and name in files else name))
    return form


def _decoded(decoder: Decoder, frames: Sequence[NDArray[np.float32]]) -> list[list[int]]:
    answers = decoder.decode(frames, [decoder.start] * len(frames))
    return [[one.token for one in emissions] for emissions, _ in answers]


def _onnx_asr(form: Path) -> Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]:
    import onnx_asr  # noqa: PLC0415  # only for this comparison
    import onnxruntime as ort  # noqa: PLC0415  # the same

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    loaded: Any = onnx_asr.load_model(
        "nemo-conformer-tdt", form, sess_options=options, providers=["CPUExecutionProvider"]
    )
    model = loaded.asr if hasattr(loaded, "asr") else loaded._asr  # noqa: SLF001  # its loop has no other door

    def decoded(frames: Sequence[NDArray[np.float32]]) -> list[list[int]]:
        return [
            list(answer[0])
            for lane in frames
            for answer in model._decoding(lane[None], np.array([len(lane)]))  # noqa: SLF001  # the same
        ]

    return decoded


def _rate(tokens: list[list[int]], frames: Sequence[NDArray[np.float32]]) -> float:
    return sum(map(len, tokens)) / sum(map(len, frames))


def _sherpa(folder: Path, lanes: int) -> dict[str, float]:
    if find_spec("sherpa_onnx") is None:
        return {}
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.greedy_sherpa", str(folder), str(lanes), str(_SECONDS)],
        capture_output=True,
        text=True,
        cwd=report.ROOT,
        env=child_environment(),
        check=False,
    )
    if out.returncode:
        print("  sherpa-onnx did not decode these networks.")
        return {}
    return {f"sherpa-onnx, {name}": float(value) for name, value in json.loads(out.stdout).items()}


def _share(folder: Path, figures: dict[str, object]) -> None:
    """Print how much of a window's time the encoder takes: 6.5 s of it, 2.5 s of them decoded."""
    loaded = session(encoders(folder)[ROWS])
    bands = loaded.get_inputs()[0].shape[1]
    decoder = load_model(look_through(folder, ROWS), Runtime()).decoder
    rows: list[list[Cell]] = []
    for lanes in (1, 8):
        noise = np.random.default_rng(0).normal(size=(lanes, bands, 656)).astype(np.float32)
        feed = {"audio_signal": noise, "length": np.full(lanes, 656, np.int64)}
        frames = stub_frames(folder, lanes, 2.5)
        least = milliseconds(
            {"encode": partial(loaded.run, ["outputs"], feed), "decode": partial(_decoded, decoder, frames)},
            4,
        )
        encode, decode = (least[name] / lanes for name in ("encode", "decode"))
        rows.append([f"{lanes} at a time", encode, decode, 100 * encode / (encode + decode)])
    header = ["windows", "encode, ms", "decode, ms", "encoder, %"]
    report.table(f"A window of 6.5 s, 2.5 s of it decoded, {folder.name}: where the time goes", header, rows)
    figures[f"{folder.name} share"] = [dict(zip(header, row, strict=True)) for row in rows]
