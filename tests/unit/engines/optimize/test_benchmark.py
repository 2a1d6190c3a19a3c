from __future__ import annotations

from pathlib import Path

import pytest

from echoic.engines.optimize.benchmark import BENCHMARK_CASES, ModelTrial, measure_graph_size, run_trial
from echoic.engines.parakeet.onnx_files import inspect_onnx_folder
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings


def build_trial(milliseconds: float, tokens: str) -> ModelTrial:
    return ModelTrial(Path("encoder.onnx"), 1, (milliseconds, 2 * milliseconds), (tuple(tokens),))


def test_cost_is_relative_to_the_other_trial() -> None:
    assert build_trial(5, "").compare_cost(build_trial(10, "")) == pytest.approx(0.5)


def test_agreement_is_the_share_of_equal_tokens() -> None:
    trial = build_trial(1, "abcdefghij")
    assert trial.measure_agreement(trial) == 1.0
    assert build_trial(1, "abcdefghix").measure_agreement(trial) == pytest.approx(0.9)


def test_agreement_is_unknown_if_nothing_was_recognized() -> None:
    assert build_trial(1, "").measure_agreement(build_trial(1, "")) is None


def test_a_trial_times_all_cases_and_transcribes() -> None:
    audio, text = read_recordings()[0]
    trial = run_trial(inspect_onnx_folder(TINY_PARAKEET_FOLDER), [audio])
    assert len(trial.milliseconds) == len(BENCHMARK_CASES)
    assert all(milliseconds > 0 for milliseconds in trial.milliseconds)
    assert "".join(trial.tokens[0]).split()[0].lower().strip(".,") == text.split()[0].lower().strip(".,")
    assert trial.networks == ("decoder_joint-model.fp16.onnx",)
    assert not trial.is_split


def test_the_size_of_a_graph_includes_external_tensors(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(3))
    (tmp_path / "model.onnx.data").write_bytes(bytes(4))
    assert measure_graph_size(file) == 7
