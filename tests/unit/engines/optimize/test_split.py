from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from echoic.engines.optimize import split
from echoic.engines.optimize.quantize import widen_model
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

JOINT = "decoder_joint-model.fp16.onnx"


def load_fused_model() -> onnx.ModelProto:
    return widen_model(onnx.load(TINY_PARAKEET_FOLDER / JOINT), TINY_PARAKEET_FOLDER)


def build_session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_split_networks_compute_what_the_fused_one_does() -> None:
    weights = split.read_decoder_weights(load_fused_model(), TINY_PARAKEET_FOLDER)
    fused = build_session(load_fused_model())
    projection, prediction, joint = (
        build_session(build_graph(weights, None))
        for build_graph in (
            split.build_projection_graph,
            split.build_prediction_graph,
            split.build_joint_graph,
        )
    )
    random = np.random.default_rng(0)
    frames = random.normal(size=(3, len(weights.encoder_projection.weights))).astype(np.float32)
    layers, hidden = len(weights.layers), len(weights.layers[0].recurrent_weights)
    state = random.uniform(-1, 1, size=(2, layers, 3, hidden)).astype(np.float32)
    tokens = np.array([3, 17, len(weights.embedding) - 1])
    logits, after, cells = fused.run(
        ["outputs", "output_states_1", "output_states_2"],
        {
            "encoder_outputs": frames[:, :, None],
            "targets": tokens[:, None].astype(np.int32),
            "target_length": np.ones(3, np.int32),
            "input_states_1": state[0],
            "input_states_2": state[1],
        },
    )
    memory = np.ascontiguousarray(state.transpose(2, 0, 1, 3).reshape(3, -1))
    (projected,) = projection.run(None, {"frames": frames})
    predicted, memory_after = prediction.run(None, {"tokens": tokens, "memory": memory})
    names = [one.name for one in joint.get_outputs()]
    results = dict(zip(names, joint.run(None, {"heard": projected, "predicted": predicted}), strict=True))
    scores = logits[:, 0, 0, : len(weights.embedding)]
    np.testing.assert_allclose(results["scores"], scores, atol=2e-2)
    np.testing.assert_allclose(results["durations"], logits[:, 0, 0, len(weights.embedding) :], atol=2e-2)
    likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(results["certain"], 1 / likelihood.sum(axis=1), atol=1e-2)
    expected = np.stack((after, cells)).transpose(2, 0, 1, 3).reshape(3, -1)
    np.testing.assert_allclose(memory_after, expected, atol=2e-3)


def test_a_graph_with_another_activation_is_refused() -> None:
    model = load_fused_model()
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"
    with pytest.raises(split.SplitError, match="Relu is not where it is expected"):
        split.read_decoder_weights(model, TINY_PARAKEET_FOLDER)
