from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from echoic.engines.parakeet import onnx
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"


@pytest.fixture(scope="module")
def engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(TINY_PARAKEET_FOLDER, folder, ignore=shutil.ignore_patterns("speech", "README.md"))
    return folder


def test_recordings_are_recognised(engine: ParakeetOnnx) -> None:
    for audio, text in read_recordings():
        [hypothesis] = engine.decode([build_whole_window(audio)])
        assert join_tokens(hypothesis.committed) == text
        assert hypothesis.volatile == ()


@pytest.mark.skipif(find_spec("onnx_asr") is None, reason="onnx-asr is not installed")
def test_tokens_and_times_equal_those_of_onnx_asr(engine: ParakeetOnnx) -> None:
    import onnx_asr  # optional  # noqa: PLC0415  # only for this comparison

    theirs = onnx_asr.load_model(
        "nemo-conformer-tdt", TINY_PARAKEET_FOLDER, quantization="fp16", providers=["CPUExecutionProvider"]
    ).with_timestamps()
    for audio, _ in read_recordings():
        [ours] = engine.decode([build_whole_window(audio)])
        result = theirs.recognize(audio)
        assert [one.text for one in ours.committed] == list(result.tokens or ())
        assert [one.start for one in ours.committed] == pytest.approx(result.timestamps, abs=1e-6)


def test_dynamic_quantization_disables_batches(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "uses_dynamic_quantization", lambda _file: True)
    engine = ParakeetOnnx(copy)
    assert engine.max_batch_size == 1
    windows = [build_whole_window(audio) for audio, _ in read_recordings()[:3]]
    assert [join_tokens(one.committed) for one in engine.decode(windows)] == [
        text for _, text in read_recordings()[:3]
    ]


def build_truncation(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-5_000])


def build_writer(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def build_removal(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def build_config_text(**values: object) -> str:
    return json.dumps({"model_type": "nemo-conformer-tdt", "features_size": 128, **values})


def copy_joint_over_encoder(folder: Path) -> None:
    shutil.copy(folder / JOINT, folder / ENCODER)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (shutil.rmtree, "There is no folder"),
        (build_removal(ENCODER), r"encoder-model\.onnx is missing in"),
        (build_removal(JOINT), r"decoder_joint-model\.onnx is missing in"),
        (build_removal("vocab.txt"), r"vocab\.txt is missing in"),
        (build_removal("config.json"), r"config\.json is missing in"),
        (build_truncation(ENCODER), r"encoder-model\.fp16\.onnx cannot be loaded: it is cut off or damaged"),
        (
            build_truncation(JOINT),
            r"decoder_joint-model\.fp16\.onnx cannot be loaded: it is cut off or damaged",
        ),
        (build_writer(ENCODER, ""), "is empty"),
        (build_writer(ENCODER, "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (build_writer("config.json", "{"), "is not JSON"),
        (build_writer("config.json", "[]"), "is not a JSON object"),
        (
            build_writer("config.json", build_config_text(model_type="nemo-conformer-aed")),
            "names the architecture",
        ),
        (
            build_writer("config.json", build_config_text(model_type="nemo-conformer-rnnt")),
            "not belong to one RNNT model",
        ),
        (
            build_writer("config.json", build_config_text(features_size=80)),
            "takes 128 mel bands, but config.json says 80",
        ),
        (build_writer("config.json", build_config_text(features_size="many")), "not a whole number"),
        (build_writer("vocab.txt", "one 0\ntwo 2\n"), "is not a vocabulary"),
        (build_writer("vocab.txt", "one 0\n<blk> 1\n"), "do not belong to one TDT"),
        (
            build_writer("vocab.txt", "".join(f"p{n} {n}\n" for n in range(200)) + "<blk> 200\n"),
            "do not belong to one TDT",
        ),
        (copy_joint_over_encoder, "is not the encoder of a NeMo model"),
    ],
)
def test_an_unusable_model_names_the_cause_and_the_command(
    copy: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(copy)
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        ParakeetOnnx(copy)
    assert refused.value.install == "echoic models get parakeet-tdt-0.6b-v3-onnx"
