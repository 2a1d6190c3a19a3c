"""Compares the greedy decode loop with those of onnx-asr and sherpa-onnx on the same networks and frames.

The encoder is a stub that costs nothing. sherpa-onnx runs in a process of its own (``greedy_sherpa``), since
it brings an onnxruntime of its own; it is left out where it is not installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoic.engines.optimize.optimizer import ROW_FORM
from echoic.engines.parakeet.decoder import TokenDecoder
from echoic.engines.parakeet.onnx import OnnxOptions, load_onnx_model
from echoic.engines.parakeet.onnx_files import JOINT_STEM, SPLIT_STEMS, inspect_onnx_folder
from tools.benchmarks import report
from tools.benchmarks.process import build_child_environment
from tools.benchmarks.report import Cell
from tools.benchmarks.true_shapes import (
    build_stub_frames,
    ensure_optimized,
    find_encoders,
    find_shape_folders,
    measure_milliseconds,
    open_session,
)

AIM = 4.0
_LANES = (1, 2, 4, 8, 16)
_SECONDS = 5.0
_OURS, _THEIRS = "ours, optimized", "onnx-asr, int8"


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    figures: dict[str, object] = {"aim": AIM, "seconds": _SECONDS}
    for folder in find_shape_folders():
        with tempfile.TemporaryDirectory() as place:
            ways = _build_decoders(ensure_optimized(folder), Path(place))
            rows: list[list[Cell]] = []
            for lanes in _LANES[1:4:2] if quick else _LANES:
                frames = build_stub_frames(folder, lanes, _SECONDS)
                if lanes == _LANES[-1]:
                    print(f"  {_compute_token_rate(ways[_OURS](frames), frames):.2f} tokens a frame")
                least = measure_milliseconds(
                    {name: partial(way, frames) for name, way in ways.items()}, 3 if quick else 6
                )
                least |= _measure_sherpa(folder, lanes)
                rows.append([str(lanes), *least.values(), least[_THEIRS] / least[_OURS]])
            header = ["lanes", *least, f"{_THEIRS} / {_OURS}"]
        report.print_table(f"Decode loop, {folder.name}: ms for lanes of {_SECONDS:g} s", header, rows)
        figures[folder.name] = [dict(zip(header, row, strict=True)) for row in rows]
        _measure_encoder_share(folder, figures)
    if len(figures) > 2:
        report.save_results("greedy", figures)


def _build_decoders(
    folder: Path, place: Path
) -> dict[str, Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]]:
    ours = {
        "ours, optimized": [f"{stem}.{ROW_FORM}.onnx" for stem in SPLIT_STEMS],
        "ours, fp32": [f"{JOINT_STEM}.onnx"],
        "ours, int8": [f"{JOINT_STEM}.int8.onnx"],
    }
    ways: dict[str, Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]] = {}
    for name, files in ours.items():
        form = _build_stub_folder(folder, place / name, files)
        ways[name] = partial(
            _decode_tokens, load_onnx_model(inspect_onnx_folder(form), OnnxOptions()).decoder
        )
    for name, file in (("onnx-asr, fp32", f"{JOINT_STEM}.onnx"), (_THEIRS, f"{JOINT_STEM}.int8.onnx")):
        form = _build_stub_folder(folder, place / name, [file], as_file=f"{JOINT_STEM}.onnx")
        ways[name] = _load_onnx_asr(form)
    return ways


def _build_stub_folder(folder: Path, form: Path, files: Sequence[str], as_file: str | None = None) -> Path:
    """Return a folder with the stub for an encoder and these decoding networks."""
    form.mkdir()
    shutil.copy(folder / "stub.onnx", form / "encoder-model.onnx")
    for name in ("vocab.txt", "config.json", *files):
        shutil.copy(folder / name, form / (as_file if as_file and name in files else name))
    return form


def _decode_tokens(decoder: TokenDecoder, frames: Sequence[NDArray[np.float32]]) -> list[list[int]]:
    answers = decoder.decode(frames, [decoder.initial_state] * len(frames))
    return [[one.token_id for one in emissions] for emissions, _ in answers]


def _load_onnx_asr(form: Path) -> Callable[[Sequence[NDArray[np.float32]]], list[list[int]]]:
    import onnx_asr  # noqa: PLC0415  # only for this comparison
    import onnxruntime as ort  # noqa: PLC0415  # slow to import

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    loaded: Any = onnx_asr.load_model(
        "nemo-conformer-tdt", form, sess_options=options, providers=["CPUExecutionProvider"]
    )
    model = loaded.asr if hasattr(loaded, "asr") else loaded._asr  # noqa: SLF001  # its loop is private

    def decoded(frames: Sequence[NDArray[np.float32]]) -> list[list[int]]:
        return [
            list(answer[0])
            for lane in frames
            for answer in model._decoding(lane[None], np.array([len(lane)]))  # noqa: SLF001  # the reference has no public decoder
        ]

    return decoded


def _compute_token_rate(tokens: list[list[int]], frames: Sequence[NDArray[np.float32]]) -> float:
    return sum(map(len, tokens)) / sum(map(len, frames))


def _measure_sherpa(folder: Path, lanes: int) -> dict[str, float]:
    if find_spec("sherpa_onnx") is None:
        return {}
    out = subprocess.run(
        [sys.executable, "-m", "tools.benchmarks.greedy_sherpa", str(folder), str(lanes), str(_SECONDS)],
        capture_output=True,
        text=True,
        cwd=report.ROOT,
        env=build_child_environment(),
        check=False,
    )
    if out.returncode:
        print("  sherpa-onnx did not decode these networks.")
        return {}
    return {f"sherpa-onnx, {name}": float(value) for name, value in json.loads(out.stdout).items()}


def _measure_encoder_share(folder: Path, figures: dict[str, object]) -> None:
    """Print the encoder's share of the time for a window of 6.5 s of which 2.5 s are decoded."""
    loaded = open_session(find_encoders(folder)[ROW_FORM])
    bands = loaded.get_inputs()[0].shape[1]
    decoder = load_onnx_model(inspect_onnx_folder(folder, ROW_FORM), OnnxOptions()).decoder
    rows: list[list[Cell]] = []
    for lanes in (1, 8):
        noise = np.random.default_rng(0).normal(size=(lanes, bands, 656)).astype(np.float32)
        feed = {"audio_signal": noise, "length": np.full(lanes, 656, np.int64)}
        frames = build_stub_frames(folder, lanes, 2.5)
        least = measure_milliseconds(
            {
                "encode": partial(loaded.run, ["outputs"], feed),
                "decode": partial(_decode_tokens, decoder, frames),
            },
            4,
        )
        encode, decode = (least[name] / lanes for name in ("encode", "decode"))
        rows.append([f"{lanes} at a time", encode, decode, 100 * encode / (encode + decode)])
    header = ["windows", "encode, ms", "decode, ms", "encoder, %"]
    report.print_table(
        f"A window of 6.5 s, 2.5 s of it decoded, {folder.name}: where the time goes", header, rows
    )
    figures[f"{folder.name} share"] = [dict(zip(header, row, strict=True)) for row in rows]
