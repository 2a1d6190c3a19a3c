from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from echoic.engines.optimize.quantize import (
    QUANTIZATION_STEPS,
    REDUCED_STEPS,
    GraphRewriter,
    choose_weight_steps,
    rewrite_products,
    widen_model,
)
from echoic.engines.parakeet.features import LogMelExtractor
from echoic.engines.parakeet.onnx_files import inspect_onnx_folder
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings

ENCODER = "encoder-model.fp16.onnx"


def load_encoder() -> onnx.ModelProto:
    return widen_model(onnx.load(TINY_PARAKEET_FOLDER / ENCODER), TINY_PARAKEET_FOLDER)


def rewrite_encoder(weight_steps: int | None) -> onnx.ModelProto:
    graph = GraphRewriter(load_encoder(), TINY_PARAKEET_FOLDER, weight_steps)
    assert rewrite_products(graph) > 30
    return graph.build_model()


def run_encoder(model: onnx.ModelProto, windows: int = 1) -> NDArray[np.float32]:
    extract = LogMelExtractor(inspect_onnx_folder(TINY_PARAKEET_FOLDER).bands)
    features = extract([read_recordings()[0][0]] * windows)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"audio_signal": features.log_mel, "length": features.frame_counts}
    return np.asarray(session.run(["outputs"], feed)[0])


@cache
def run_original_encoder() -> NDArray[np.float32]:
    return run_encoder(load_encoder())


def test_convolutions_as_products_compute_the_same() -> None:
    np.testing.assert_allclose(run_encoder(rewrite_encoder(None)), run_original_encoder(), atol=1e-4)


@pytest.mark.parametrize(("weight_steps", "error"), [(QUANTIZATION_STEPS, 0.03), (REDUCED_STEPS, 0.05)])
def test_integer_products_compute_nearly_the_same(weight_steps: int, error: float) -> None:
    difference = run_encoder(rewrite_encoder(weight_steps)) - run_original_encoder()
    assert np.sqrt((difference**2).mean() / (run_original_encoder() ** 2).mean()) < error


def test_a_row_is_bit_identical_in_any_batch() -> None:
    model = rewrite_encoder(QUANTIZATION_STEPS)
    alone = run_encoder(model)
    for row in run_encoder(model, windows=5):
        np.testing.assert_array_equal(row, alone[0])


def test_weights_get_as_many_steps_as_the_processor_adds_exactly() -> None:
    assert choose_weight_steps() in {QUANTIZATION_STEPS, REDUCED_STEPS}


def test_a_float32_model_is_not_changed_by_widening() -> None:
    model = load_encoder()
    before = model.SerializeToString()
    assert widen_model(model, TINY_PARAKEET_FOLDER).SerializeToString() == before


def test_a_widened_model_has_no_float16_left() -> None:
    assert {one.data_type for one in load_encoder().graph.initializer} & {onnx.TensorProto.FLOAT16} == set()
