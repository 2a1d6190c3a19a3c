"""Cost of the encoder at the true shapes, by window length, quantization and batch size."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnxruntime as ort

from echoic.engines.optimize.optimizer import ROW_FORM
from tools.benchmarks import report
from tools.benchmarks.report import Cell
from tools.benchmarks.true_shapes import (
    ensure_optimized,
    find_encoders,
    find_shape_folders,
    measure_milliseconds,
    open_session,
)

AIM = 3.0
_SECONDS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LANES = (1, 2, 4, 8, 16)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    figures: dict[str, object] = {"aim": AIM}
    for folder in find_shape_folders():
        loaded = {name: open_session(file) for name, file in find_encoders(ensure_optimized(folder)).items()}
        repeats = 2 if quick else 4
        rows: list[list[Cell]] = []
        for seconds in _SECONDS[:3] if quick else _SECONDS:
            least = _time_encoders(loaded, seconds, 1, repeats)
            faster = [least[other] / least[ROW_FORM] for other in ("usual int8", "fp32")]
            rows.append([f"{seconds:g} s", *least.values(), *faster])
        header = ["window", *loaded, "usual int8 / ours", "fp32 / ours"]
        report.print_table(f"Encoder {folder.name}: ms of one core for a window, alone", header, rows)
        figures[f"{folder.name} alone"] = [dict(zip(header, row, strict=True)) for row in rows]
        ours = {ROW_FORM: loaded[ROW_FORM]}
        del loaded
        batches: list[list[Cell]] = []
        for seconds in (1.0, 2.5, 5.0):
            cost = [
                _time_encoders(ours, seconds, lanes, repeats)[ROW_FORM] / lanes
                for lanes in _LANES[: 4 if quick else 5]
            ]
            batches.append([f"{seconds:g} s", *cost, cost[0] / min(cost)])
        header = ["window", *(f"{lanes} at a time" for lanes in _LANES[: 4 if quick else 5]), "gain"]
        report.print_table(f"Encoder {folder.name}, {ROW_FORM}: ms for a window in batches", header, batches)
        figures[f"{folder.name} together"] = [dict(zip(header, row, strict=True)) for row in batches]
    if len(figures) > 1:
        report.save_results("encoders", figures)


def _time_encoders(
    loaded: dict[str, ort.InferenceSession], seconds: float, lanes: int, repeats: int
) -> dict[str, float]:
    frames = round(100 * seconds)
    bands = next(iter(loaded.values())).get_inputs()[0].shape[1]
    noise = np.random.default_rng(0).normal(size=(lanes, bands, frames)).astype(np.float32)
    feed = {"audio_signal": noise, "length": np.full(lanes, frames, np.int64)}
    return measure_milliseconds(
        {name: partial(one.run, ["outputs"], feed) for name, one in loaded.items()}, repeats
    )
