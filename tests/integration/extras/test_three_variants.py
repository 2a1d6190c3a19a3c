"""Parakeet by onnxruntime, NeMo and MLX: the same recordings give the same tokens."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if find_spec("nemo") is None or find_spec("parakeet_mlx") is None:
    pytest.skip("NeMo and MLX are not installed: make test-extras", allow_module_level=True)

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.mlx import ParakeetMlx
from echoic.engines.parakeet.nemo import ParakeetNemo
from echoic.engines.parakeet.onnx import ParakeetOnnx
from support.session_driver import SessionDriver, frame_texts
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
    read_talks,
    write_mlx_folder,
    write_nemo_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from echoic.interfaces.engine import Engine, Window

#: Contexts longer than every recording of a sentence.
COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Engine]:
    return load_variants(tmp_path_factory.mktemp("covered"), COVERED)


def load_variants(folder: Path, options: ParakeetOptions) -> Mapping[str, Engine]:
    return {
        "onnx": ParakeetOnnx(TINY_PARAKEET_FOLDER, options),
        "standard": ParakeetNemo(write_nemo_file(folder), options),
        "mlx": ParakeetMlx(write_mlx_folder(folder), options),
    }


def decode_tokens(
    engine: Engine, windows: list[Window]
) -> list[list[tuple[str, float | None, float | None]]]:
    return [
        [(token.text, token.start, token.duration) for token in one.committed]
        for one in engine.decode(windows)
    ]


def test_the_same_recordings_give_the_same_tokens_and_times(variants: Mapping[str, Engine]) -> None:
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    onnx, standard, mlx = (decode_tokens(engine, windows) for engine in variants.values())
    assert onnx == standard == mlx
    assert all(onnx)


def test_all_variants_transcribe_the_recordings(variants: Mapping[str, Engine]) -> None:
    for audio, text in read_recordings():
        for name, engine in variants.items():
            [result] = engine.decode([build_whole_window(audio)])
            assert join_tokens(result.committed) == text, name


def test_confidences_agree(variants: Mapping[str, Engine]) -> None:
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    onnx, standard, mlx = (engine.decode(windows) for engine in variants.values())
    for one, two, three in zip(onnx, standard, mlx, strict=True):
        confidences = [token.confidence for token in one.committed]
        assert [token.confidence for token in two.committed] == pytest.approx(confidences, abs=0.002)
        assert [token.confidence for token in three.committed] == pytest.approx(confidences, abs=0.002)


def test_a_live_talk_gives_the_same_segments(tmp_path: Path) -> None:
    audio, _ = read_talks()[0]
    result = []
    for engine in load_variants(tmp_path, ParakeetOptions()).values():
        driver = SessionDriver(engine)
        driver.send({"type": "config", "sample_rate": 16_000, "chunk_duration": 2.0, "overlap_duration": 0.5})
        driver.push_in_messages(audio, [5_000] * (audio.size // 5_000))
        driver.send({"type": "commit"})
        result.append(frame_texts(driver.frames))
    onnx, standard, mlx = result
    assert len(onnx) > 3
    assert onnx == standard == mlx
