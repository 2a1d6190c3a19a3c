from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from echoic.engines.onnx_runtime import load_cpu_session
from echoic.engines.optimize import split
from echoic.engines.optimize.quantize import widen_model
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.parakeet.onnx_split import SplitSessions, SplitTransducer
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, build_whole_window, join_tokens, read_recordings

JOINT = "decoder_joint-model.fp16.onnx"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> SplitSessions:
    folder = tmp_path_factory.mktemp("split")
    model = widen_model(onnx.load(TINY_PARAKEET_FOLDER / JOINT), TINY_PARAKEET_FOLDER)
    weights = split.read_decoder_weights(model, TINY_PARAKEET_FOLDER)
    files: list[Path] = []
    for build_graph in (
        split.build_projection_graph,
        split.build_prediction_graph,
        split.build_joint_graph,
    ):
        files.append(folder / f"{len(files)}.onnx")
        onnx.save(build_graph(weights, None), files[-1])
    return SplitSessions(*map(load_cpu_session, files))


@pytest.fixture(scope="module")
def engine(sessions: SplitSessions) -> ParakeetOnnx:
    engine = ParakeetOnnx(TINY_PARAKEET_FOLDER)
    blank = len(engine._pieces)  # noqa: SLF001  # the decoder is replaced, which no option does
    engine._decoder = SplitTransducer(sessions, blank, lookahead=2, max_symbols=10)  # noqa: SLF001  # replaces the decoder
    return engine


def test_the_dimensions_are_those_of_the_model(sessions: SplitSessions) -> None:
    fused = onnx.load(TINY_PARAKEET_FOLDER / JOINT, load_external_data=False)
    [output] = [one for one in fused.graph.output if one.name == "outputs"]
    assert sessions.output_count == output.type.tensor_type.shape.dim[3].dim_value
    assert sessions.frame_width > 0


def test_split_networks_recognise_the_recordings(engine: ParakeetOnnx) -> None:
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    assert [join_tokens(one.committed) for one in engine.decode(windows)] == [
        text for _, text in read_recordings()
    ]


def test_a_batch_equals_single_windows(engine: ParakeetOnnx) -> None:
    windows = [build_whole_window(audio) for audio, _ in read_recordings()[:6]]
    alone = [engine.decode([window])[0].committed for window in windows]
    assert [one.committed for one in engine.decode(windows)] == alone


def test_silence_gives_no_tokens(engine: ParakeetOnnx) -> None:
    [hypothesis] = engine.decode([build_whole_window(np.zeros(16_000, np.float32))])
    assert hypothesis.committed == ()
