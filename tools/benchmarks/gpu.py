"""Encoder speed on an NVIDIA GPU, by onnxruntime's CUDA provider and by PyTorch; without one, says so.

onnxruntime runs the tiny Parakeet's encoder and, where ``--shapes`` names their folder, encoders of the true
shapes. PyTorch runs Conformer encoders of the true shapes with random weights, in float32 and bfloat16: the
layers of Parakeet's encoder without relative positions, which needs no NeMo.
"""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from support.tiny_parakeet import TINY_PARAKEET_FOLDER
from tools.benchmarks import report
from tools.benchmarks.shapes import SHAPES, BenchmarkShape
from tools.benchmarks.true_shapes import NAMES, SHAPES_VARIABLE

_CUDA = "CUDAExecutionProvider"
#: Windows of a call, and seconds of each.
_BATCH_SIZES, _SECONDS = (1, 8, 32), (2.5, 5.0, 20.0)
_FEATURE_FRAMES_PER_SECOND = 100
_HEADER = ("encoder", "window, s", "windows a call", "ms a call", "audio s per s")

#: Runs one call and returns when it is done.
Call = Callable[[], object]


def measure(*, quick: bool) -> None:
    """Measure, print and save; without a GPU, save only that none was found."""
    backends = find_backends()
    if not backends:
        print("\ngpu: no GPU was found (neither onnxruntime's CUDA provider nor torch.cuda)")
        report.save_results("gpu", {"gpu": None, "cases": []})
        return
    rows: list[list[report.Cell]] = []
    for backend in backends:
        rows += (_measure_onnx if backend == "onnxruntime" else _measure_torch)(quick=quick)
    report.print_table("Encoder on a GPU", _HEADER, rows)
    cases = [dict(zip(_HEADER, row, strict=True)) for row in rows]
    report.save_results("gpu", {"gpu": _describe_gpu(), "backends": backends, "cases": cases})


def find_backends() -> list[str]:
    """Return the libraries that can use a GPU here: ``onnxruntime``, ``torch``, both or none."""
    found = ["onnxruntime"] if _CUDA in ort.get_available_providers() else []
    if find_spec("torch") is not None:
        import torch  # noqa: PLC0415  # optional package

        if torch.cuda.is_available():
            found.append("torch")
    return found


def _describe_gpu() -> str:
    if find_spec("torch") is None:
        return "CUDA"
    import torch  # noqa: PLC0415  # optional package

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "CUDA"


def _measure_onnx(*, quick: bool) -> list[list[report.Cell]]:
    folders = [TINY_PARAKEET_FOLDER]
    if shapes := os.environ.get(SHAPES_VARIABLE):
        folders += [Path(shapes) / name for name in NAMES if (Path(shapes) / name).is_dir()]
    rows: list[list[report.Cell]] = []
    for folder in folders:
        file = folder / "encoder-model.onnx"
        session = ort.InferenceSession(file, providers=[_CUDA, "CPUExecutionProvider"])
        if _CUDA not in session.get_providers():
            print(f"  {folder.name}: onnxruntime cannot use its CUDA provider here")
            continue
        bands = session.get_inputs()[0].shape[1]
        for seconds, batch in _list_sizes(quick=quick):
            call = _build_onnx_call(session, bands, seconds, batch)
            rows.append(_time_call(f"{folder.name}, onnxruntime fp32", seconds, batch, call))
    return rows


def _build_onnx_call(session: ort.InferenceSession, bands: int, seconds: float, batch: int) -> Call:
    frames = round(_FEATURE_FRAMES_PER_SECOND * seconds)
    features = np.random.default_rng(0).normal(size=(batch, bands, frames)).astype(np.float32)
    feed = {"audio_signal": features, "length": np.full(batch, frames, np.int64)}
    return lambda: session.run(["outputs"], feed)


def _measure_torch(*, quick: bool) -> list[list[report.Cell]]:
    import torch  # noqa: PLC0415  # optional package

    rows: list[list[report.Cell]] = []
    for name, shape in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            torch.manual_seed(0)
            encoder = build_conformer(shape).eval().to("cuda", dtype)
            for seconds, batch in _list_sizes(quick=quick):
                frames = round(_FEATURE_FRAMES_PER_SECOND * seconds)
                features = torch.randn(batch, 1, frames, shape.bands, device="cuda", dtype=dtype)
                title = f"{name}, torch {str(dtype).removeprefix('torch.')}"
                rows.append(_time_call(title, seconds, batch, _build_torch_call(encoder, features)))
    return rows


def _build_torch_call(encoder: Any, features: Any) -> Call:  # noqa: ANN401  # torch's
    import torch  # noqa: PLC0415  # optional package

    def call() -> None:
        with torch.inference_mode():
            encoder(features)
        torch.cuda.synchronize()

    return call


def _list_sizes(*, quick: bool) -> list[tuple[float, int]]:
    """Return the sizes of calls: seconds of a window and windows of a call."""
    return [
        (seconds, batch)
        for seconds in (_SECONDS[:1] if quick else _SECONDS)
        for batch in (_BATCH_SIZES[:2] if quick else _BATCH_SIZES)
    ]


def _time_call(title: str, seconds: float, batch: int, call: Call) -> list[report.Cell]:
    """Return a row with the least time of ten calls, after three to warm up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(10):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return [title, seconds, batch, 1000 * min(times), seconds * batch / min(times)]


def build_conformer(shape: BenchmarkShape) -> Any:  # noqa: ANN401  # torch's
    """Return a Conformer encoder with random weights for features of shape ``(batch, 1, frames, bands)``.

    Source: Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition" (2020), with
    the 8-fold depthwise-separable subsampling of FastConformer (Rekesh et al., 2023).
    """
    import torch  # noqa: PLC0415  # optional package
    from torch import nn  # noqa: PLC0415  # optional package

    width = shape.width

    def feed_forward() -> nn.Module:
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    class Layer(nn.Module):  # type: ignore[misc]  # torch may be missing
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = feed_forward(), feed_forward()
            self.attention_norm, self.convolution_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, 8, batch_first=True)
            self.convolution = nn.Sequential(
                nn.Conv1d(width, 2 * width, 1),
                nn.GLU(dim=1),
                nn.Conv1d(width, width, 9, padding=4, groups=width),
                nn.BatchNorm1d(width),
                nn.SiLU(),
                nn.Conv1d(width, width, 1),
            )
            self.norm = nn.LayerNorm(width)

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            frames = frames + 0.5 * self.first(frames)
            query = self.attention_norm(frames)
            frames = frames + self.attention(query, query, query, need_weights=False)[0]
            frames = frames + self.convolution(self.convolution_norm(frames).mT).mT
            return self.norm(frames + 0.5 * self.last(frames))

    class Encoder(nn.Module):  # type: ignore[misc]  # torch may be missing
        def __init__(self) -> None:
            super().__init__()
            channels = 256
            halve = [nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.ReLU()]
            for _ in range(2):
                halve += [
                    nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels),
                    nn.Conv2d(channels, channels, 1),
                    nn.ReLU(),
                ]
            self.subsampling = nn.Sequential(*halve)
            self.projection = nn.Linear(channels * shape.bands // 8, width)
            self.layers = nn.Sequential(*(Layer() for _ in range(shape.layers)))

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            frames = self.subsampling(features).transpose(1, 2).flatten(2)
            return self.layers(self.projection(frames))

    return Encoder()
