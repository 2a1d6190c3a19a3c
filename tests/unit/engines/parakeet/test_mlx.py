"""The tiny Parakeet on MLX, compared with onnxruntime and parakeet-mlx; ``make test-extras``."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

if find_spec("mlx") is None or find_spec("parakeet_mlx") is None:
    pytest.skip("MLX is not installed: make test-extras", allow_module_level=True)

import mlx.core as mx
from parakeet_mlx.utils import from_config

from echoic.engines.models import build_standard_registry
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.features import LogMelExtractor
from echoic.engines.parakeet.mlx import MlxOptions, ParakeetMlx
from echoic.engines.parakeet.mlx_files import MLX_DOWNLOAD_COMMAND, check_mlx_libraries
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.settings import EngineSettings
from echoic.errors import ModelUnavailable
from support.session_driver import SessionDriver, frame_texts
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
    write_ctc_folder,
    write_mlx_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from echoic.interfaces.engine import Hypothesis, Token, Window

pytestmark = pytest.mark.skipif(
    not (TINY_PARAKEET_FOLDER / "nemo").is_dir(), reason="the fixture has no form for MLX"
)
#: Contexts that cover every recording here.
COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)
EXACT = MlxOptions("float32", allow_batching=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mlx_folder(tmp_path_factory.mktemp("mlx"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> ParakeetMlx:
    return ParakeetMlx(folder, COVERED, EXACT)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def windows() -> list[Window]:
    return [build_whole_window(audio) for audio, _ in read_recordings()]


def list_tokens(tokens: Sequence[Token], begins: float = 0.0) -> list[tuple[str, float, float | None]]:
    return [(one.text, round((one.start or 0.0) + begins, 3), one.duration) for one in tokens]


def split_window(window: Window, cuts: Sequence[int]) -> list[Window]:
    """Cut a window into windows that each see all of it."""
    edges = [0, *cuts, window.audio.size]
    return [
        replace(
            window,
            left_context=first,
            new_samples=last - first,
            right_context=edges[-1] - last,
            is_last=last == edges[-1],
        )
        for first, last in pairwise(edges)
    ]


def decode_stream(engine: ParakeetMlx, pieces: Sequence[Window]) -> list[tuple[str, float, float | None]]:
    heard, carry = [], None
    for piece in pieces:
        [hypothesis] = engine.decode([replace(piece, state=carry)])
        heard += list_tokens(hypothesis.committed)
        carry = hypothesis.state
    return heard


def test_tokens_and_times_equal_those_of_onnxruntime(engine: ParakeetMlx) -> None:
    reference = ParakeetOnnx(TINY_PARAKEET_FOLDER, COVERED)
    for window in windows():
        [ours], [theirs] = engine.decode([window]), reference.decode([window])
        assert list_tokens(ours.committed) == list_tokens(theirs.committed)
        assert [one.confidence for one in ours.committed] == pytest.approx(
            [one.confidence for one in theirs.committed], abs=0.01
        )


def test_ctc_tokens_and_times_equal_those_of_onnxruntime(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    if "aux_ctc" not in json.loads((folder / "config.json").read_bytes()):
        pytest.skip("the fixture has no CTC head")
    engine, reference = (
        ParakeetMlx(folder, mlx_options=MlxOptions(head="ctc")),
        ParakeetOnnx(write_ctc_folder(tmp_path)),
    )
    for window in windows():
        [ours], [theirs] = engine.decode([window]), reference.decode([window])
        assert list_tokens(ours.committed) == list_tokens(theirs.committed)
        pieces = decode_stream(engine, split_window(window, [9_000]))
        # A token that the cut goes through is said at once, so it lasts until the cut only.
        assert [one[:2] for one in pieces] == [one[:2] for one in list_tokens(ours.committed)]


def make_rnnt(folder: Path) -> None:
    """Take the durations from a TDT: what is left is a whole RNNT, if not one that was trained."""
    config = json.loads((folder / "config.json").read_bytes())
    config |= {"target": "nemo.collections.asr.models.rnnt_bpe_models.EncDecRNNTBPEModel"}
    config["joint"]["num_extra_outputs"] = 0
    config["model_defaults"].pop("tdt_durations", None)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    weights = {
        name: value
        for name, value in mx.load(str(folder / "model.safetensors")).items()
        if not name.startswith("ctc_decoder.")
    }
    for part in ("weight", "bias"):
        name = f"joint.joint_net.2.{part}"
        weights[name] = weights[name][: config["joint"]["num_classes"] + 1]
    mx.save_safetensors(str(folder / "model.safetensors"), weights)


def add_lstm_layer(folder: Path) -> None:
    """Give the prediction network a second layer, as the large models have: what it says is not trained."""
    build_config_change("decoder", prednet={"pred_hidden": 160, "pred_rnn_layers": 2})(folder)
    weights = mx.load(str(folder / "model.safetensors"))
    lstm = "decoder.prediction.dec_rnn.lstm"
    for part in ("Wx", "Wh", "bias"):
        weights[f"{lstm}.1.{part}"] = 1.5 * weights[f"{lstm}.0.{part}"][::-1]
    mx.save_safetensors(str(folder / "model.safetensors"), weights)


@pytest.mark.parametrize(
    "change", [lambda _: None, make_rnnt, add_lstm_layer], ids=["tdt", "rnnt", "two layers"]
)
def test_tokens_equal_those_of_parakeet_mlx_on_our_features(
    copy: Path, change: Callable[[Path], object]
) -> None:
    change(copy)
    engine = ParakeetMlx(copy, COVERED, EXACT)
    theirs = from_config(json.loads((copy / "config.json").read_bytes()))
    theirs.load_weights(str(copy / "model.safetensors"))
    together = engine.decode(windows()[:5])
    assert any(one.committed for one in together)
    for window, heard in zip(windows(), together, strict=False):
        ours = [(text, start) for text, start, _ in list_tokens(heard.committed)]
        bands = mx.array(LogMelExtractor(128)([window.audio]).log_mel.transpose(0, 2, 1))
        tokens = theirs.generate(bands)[0].tokens
        assert ours == [(one.text, round(one.start, 3)) for one in tokens]


def test_a_batch_with_contexts_equals_single_windows(engine: ParakeetMlx) -> None:
    pieces = [piece for window in windows()[:5] for piece in split_window(window, [7_000])]
    several = [*windows(), *windows()[:3], *pieces]
    alone = [engine.decode([window])[0] for window in several]
    together = engine.decode(several)
    assert [(one.committed, one.volatile) for one in together] == [
        (one.committed, one.volatile) for one in alone
    ]


def test_a_session_with_full_context_equals_offline_decoding(engine: ParakeetMlx) -> None:
    chance = np.random.default_rng(4)
    for window in windows()[:5]:
        play = SessionDriver(engine)
        play.send({"type": "config", "sample_rate": 16_000, "chunk_duration": 2.0, "overlap_duration": 0.5})
        play.push_in_messages(window.audio, chance.integers(1, 7_000, 50).tolist())
        play.send({"type": "commit"})
        [offline] = engine.decode([window])
        assert " ".join(one for one in frame_texts(play.frames) if one) == join_tokens(offline.committed)


def test_different_threads_may_load_and_decode_a_stream(folder: Path) -> None:
    def elsewhere(engine: ParakeetMlx, window: Window) -> Hypothesis:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(engine.decode, [window]).result()[0]

    with ThreadPoolExecutor(1) as thread:
        engine = thread.submit(ParakeetMlx, folder, COVERED, EXACT).result()
    for window in windows()[:3]:
        first, second = split_window(window, [window.audio.size // 2])
        begun = elsewhere(engine, first)
        ended = elsewhere(engine, replace(second, state=begun.state))
        assert list_tokens((*begun.committed, *ended.committed)) == list_tokens(
            elsewhere(engine, window).committed
        )


def test_concurrent_threads_get_their_own_results(engine: ParakeetMlx) -> None:
    alone = [engine.decode([window])[0].committed for window in windows()]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda window: engine.decode([window])[0].committed, windows() * 2))
    assert answers == alone * 2


#: A program in which one thread loads a model, another decodes, and none closes it.
PROGRAM = """
import sys, threading
from pathlib import Path
import numpy as np
from echoic.interfaces.engine import Window

def load():
    global engine
    from echoic.engines.parakeet.mlx import ParakeetMlx
    engine = ParakeetMlx(Path(sys.argv[1]))

def decode():
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    whole = {"left_context": 0, "new_samples": 16_000, "right_context": 0}
    engine.decode([Window(noise, 16_000, 0.0, **whole, is_last=True)])

for task in (load, decode):
    thread = threading.Thread(target=task)
    thread.start()
    thread.join()
"""


def test_a_program_exits_cleanly_after_its_threads_ended(folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_decoding_does_not_change_the_networks(folder: Path) -> None:
    engine = ParakeetMlx(folder, COVERED, EXACT)
    encoder = engine._encoder._encoder  # type: ignore[attr-defined]  # looked at, not changed  # noqa: SLF001  # watched, not replaced
    before = [(id(layer.self_attn), id(layer.conv)) for layer in encoder.layers]
    for piece in split_window(windows()[4], [9_000, 20_000]):
        engine.decode([piece])
    assert [(id(layer.self_attn), id(layer.conv)) for layer in encoder.layers] == before
    assert not encoder.training


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_give_nearly_the_same_text(folder: Path, engine: ParakeetMlx, precision: str) -> None:
    coarse = ParakeetMlx(folder, COVERED, MlxOptions(precision))  # type: ignore[arg-type]  # one of two
    heard = [join_tokens(coarse.decode([window])[0].committed) for window in windows()]
    exact = [join_tokens(engine.decode([window])[0].committed) for window in windows()]
    assert sum(one == other for one, other in zip(heard, exact, strict=True)) >= len(exact) - 2


def test_the_shortest_windows_are_decoded(engine: ParakeetMlx) -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 2_000).astype(np.float32)
    for size in (320, 480, 1_280, 1_281):
        engine.decode([build_whole_window(noise[:size])])


def test_closing_releases_the_weights(folder: Path) -> None:
    engine = ParakeetMlx(folder)
    before = mx.get_active_memory()
    engine.close()
    assert mx.get_active_memory() < before - 5_000_000
    with pytest.raises(RuntimeError, match="shut down"):
        engine.decode([windows()[0]])


def test_the_registry_loads_the_folder_in_the_settings(folder: Path) -> None:
    check_mlx_libraries()
    engine = build_standard_registry(EngineSettings(parakeet_mlx_dir=folder), max_concurrency=2).load_engine(
        "parakeet-mlx"
    )
    assert engine.name == "parakeet-mlx"
    assert engine.requirements.has_word_times
    assert engine.max_concurrency == 1


def prefix_weights(folder: Path) -> None:
    weights = mx.load(str(folder / "model.safetensors"))
    mx.save_safetensors(
        str(folder / "model.safetensors"), {f"model.{name}": value for name, value in weights.items()}
    )


def build_config_change(section: str, **changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        config[section] |= changes
        (folder / "config.json").write_text(json.dumps(config), "utf-8")

    return change


@pytest.mark.parametrize(
    "damage",
    [
        prefix_weights,
        build_config_change("encoder", n_layers=5),
        build_config_change("encoder", d_model=160),
        build_config_change("encoder", subsampling="striding"),
        build_config_change("encoder", n_heads=None),
        build_config_change("joint", jointnet={}),
        build_config_change("decoding", model_type="rnnt"),
    ],
)
def test_weights_of_another_configuration_are_rejected(copy: Path, damage: Callable[[Path], object]) -> None:
    damage(copy)
    with pytest.raises(ModelUnavailable, match="does not hold the weights") as refused:
        ParakeetMlx(copy)
    assert refused.value.install == MLX_DOWNLOAD_COMMAND


def test_a_model_that_the_device_cannot_run_is_rejected(copy: Path) -> None:
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("local attention is written for a GPU")
    build_config_change("encoder", self_attention_model="rel_pos_local_attn", att_context_size=[128, 128])(
        copy
    )
    with pytest.raises(ModelUnavailable, match="cannot run it on"):
        ParakeetMlx(copy)
