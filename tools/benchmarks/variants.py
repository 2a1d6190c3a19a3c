"""Compares the tiny Parakeet by onnxruntime, NeMo and MLX (those installed) on the same recordings.

A model this small says what a library costs besides the arithmetic; it does not say how the 0.6B compares.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.interfaces.engine import Engine, Token, Window
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    read_recordings,
    write_mlx_folder,
    write_nemo_file,
)
from tools.benchmarks import report

#: Contexts that cover every recording.
_COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)
_LANES = 8
_HEADER = (
    "variant",
    "load, s",
    "alone, ms a second",
    "onnx = 1",
    f"{_LANES} together, ms a second",
    "onnx = 1",
    "same tokens and times",
)


@dataclass(slots=True)
class EngineVariant:
    """A loaded variant and its figures; times in seconds."""

    name: str
    engine: Engine
    #: To load it, including its libraries.
    load: float
    #: The tokens of each recording.
    heard: list[tuple[Token, ...]] = field(default_factory=list)
    #: To decode all recordings one by one, the best round.
    alone: float = float("inf")
    #: To decode all recordings in batches, the best round.
    together: float = float("inf")


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    seconds = sum(window.audio.size for window in windows) / windows[0].sample_rate
    with tempfile.TemporaryDirectory() as scratch:
        variants = [_load_variant(name, make) for name, make in _find_variants(Path(scratch))]
        for variant in variants:
            variant.heard = [variant.engine.decode([window])[0].committed for window in windows]
        for _ in range(2 if quick else 10):  # alternating, so that other load affects all of them alike
            for variant in variants:
                variant.alone = min(variant.alone, _time_decoding(variant.engine, windows, 1))
                variant.together = min(variant.together, _time_decoding(variant.engine, windows, _LANES))
        rows = [_build_row(variant, variants[0], seconds) for variant in variants]
        for variant in variants:
            variant.engine.close()
    title = f"The tiny Parakeet by its variants, {len(windows)} recordings, {seconds:.0f} s"
    report.print_table(title, _HEADER, rows)
    names = ("variant", "load_s", "alone_ms", "alone_ratio", "together_ms", "together_ratio", "same")
    report.save_results("variants", {"rows": [dict(zip(names, row, strict=True)) for row in rows]})


def _find_variants(scratch: Path) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """Yield the installed variants, onnxruntime first."""
    yield "onnx", lambda: ParakeetOnnx(TINY_PARAKEET_FOLDER, _COVERED)
    if not (TINY_PARAKEET_FOLDER / "nemo").is_dir():
        return
    if find_spec("nemo") and find_spec("torch"):
        yield "standard (NeMo)", lambda: _load_nemo(scratch)
    if find_spec("mlx") and find_spec("parakeet_mlx"):
        yield "mlx", lambda: _load_mlx(scratch)


def _load_nemo(scratch: Path) -> Engine:
    from echoic.engines.parakeet.nemo import ParakeetNemo  # noqa: PLC0415  # not installed everywhere

    return ParakeetNemo(write_nemo_file(scratch), _COVERED)


def _load_mlx(scratch: Path) -> Engine:
    from echoic.engines.parakeet.mlx import ParakeetMlx  # noqa: PLC0415  # not installed everywhere

    return ParakeetMlx(write_mlx_folder(scratch), _COVERED)


def _load_variant(name: str, make: Callable[[], Engine]) -> EngineVariant:
    began = time.perf_counter()
    return EngineVariant(name, make(), time.perf_counter() - began)


def _time_decoding(engine: Engine, windows: list[Window], lanes: int) -> float:
    began = time.perf_counter()
    for first in range(0, len(windows), lanes):
        engine.decode(windows[first : first + lanes])
    return time.perf_counter() - began


def _build_row(variant: EngineVariant, first: EngineVariant, seconds: float) -> list[report.Cell]:
    same = sum(
        _to_comparable(ours) == _to_comparable(theirs)
        for ours, theirs in zip(variant.heard, first.heard, strict=True)
    )
    return [
        variant.name,
        variant.load,
        1_000 * variant.alone / seconds,
        variant.alone / first.alone,
        1_000 * variant.together / seconds,
        variant.together / first.together,
        f"{same} of {len(first.heard)}",
    ]


def _to_comparable(tokens: tuple[Token, ...]) -> list[tuple[str, int]]:
    return [(one.text, round(1_000 * (one.start or 0.0))) for one in tokens]
