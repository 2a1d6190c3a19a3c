"""Finds models of the true shapes (``tools.benchmarks.shapes``) and opens the forms to compare."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from echoic.engines.optimize.manifest import MANIFEST_FILE
from echoic.engines.optimize.optimizer import ROW_FORM, optimize_model

NAMES = ("0.6b", "110m")
#: Environment variable with the folder; ``python -m tools.benchmarks --shapes FOLDER`` sets it.
SHAPES_VARIABLE = "ECHOIC_SHAPES"


def find_shape_folders() -> list[Path]:
    """Return the folders of the shapes that exist; print how to build them if there are none."""
    place = Path(os.environ.get(SHAPES_VARIABLE, "build/shapes"))
    found = [place / name for name in NAMES if (place / name / "stub.onnx").is_file()]
    if not found:
        print(
            f"  Skipped: no models of the true shapes in {place}. To build them (needs nemo_toolkit[asr]):\n"
            "    python -m tools.benchmarks.shapes 0.6b FOLDER\n"
            "  Then run: python -m tools.benchmarks --shapes FOLDER …"
        )
    return found


def ensure_optimized(folder: Path) -> Path:
    """Return the folder, with the form that ``echoic models optimize`` makes.

    The form is not compared: with random weights no quantized model recognizes the original's tokens.
    """
    if not (folder / f"encoder-model.{ROW_FORM}.onnx").is_file():
        optimize_model(folder, force=True, keep_all=True, on_step=lambda sentence: print(f"  {sentence}"))
        (folder / MANIFEST_FILE).unlink()
    return folder


def open_session(file: Path) -> ort.InferenceSession:
    """Open a graph on one thread that does not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def find_encoders(folder: Path) -> dict[str, Path]:
    """Return the encoder files by form: full precision, the usual int8, ours."""
    names = {"fp32": "", "usual int8": ".int8", ROW_FORM: f".{ROW_FORM}"}
    files = {name: folder / f"encoder-model{suffix}.onnx" for name, suffix in names.items()}
    return {name: file for name, file in files.items() if file.is_file()}


def measure_milliseconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the least core time in ms of each call; the calls alternate."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.process_time()
            way()
            least[name] = min(least[name], 1000 * (time.process_time() - began))
    return least


def build_stub_frames(folder: Path, lanes: int, seconds: float) -> list[NDArray[np.float32]]:
    """Return encoder frames of about ``seconds`` for each lane, shape ``(frames, width)``."""
    stub = open_session(folder / "stub.onnx")
    bands = stub.get_inputs()[0].shape[1]
    found = []
    for lane in range(lanes):
        count = round(100 * seconds) + 8 * lane
        feed = {"audio_signal": np.zeros((1, bands, count), np.float32), "length": np.array([count])}
        (frames,) = stub.run(["outputs"], feed)
        found.append(np.ascontiguousarray(frames[0].T))
    return found
