from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from filelock import FileLock

from echoic.engines.optimize import search as optimizing
from echoic.engines.optimize import split
from echoic.engines.optimize.benchmark import FormTrial
from echoic.engines.optimize.manifest import MANIFEST_FILE, read_optimized_manifest
from echoic.engines.optimize.quantize import (
    REDUCED_STEPS,
    GraphRewriter,
    add_float_product,
    build_block_product,
    build_row_product,
    rewrite_products,
    widen_model,
)
from echoic.engines.optimize.search import OptimizeError, optimize_model, pick_fastest
from echoic.engines.parakeet.features import LogMelExtractor
from echoic.engines.parakeet.onnx import OnnxOptions, ParakeetOnnx
from echoic.engines.parakeet.onnx_files import inspect_onnx_folder, uses_dynamic_quantization
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import DecodeOptions
from echoic.text.vocabulary import Hotword, Hotwords
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, build_whole_window, join_tokens, read_recordings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from echoic.engines.optimize.quantize import ProductBuilder

ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"
CUT = {f"{part}-model.rowint8.onnx" for part in ("projection", "prediction", "joint")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with nothing in it but an export of a transducer in half precision."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in (ENCODER, JOINT, "vocab.txt", "config.json"):
        shutil.copy(TINY_PARAKEET_FOLDER / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimized")
    for name in (ENCODER, JOINT, "vocab.txt", "config.json"):
        shutil.copy(TINY_PARAKEET_FOLDER / name, folder / name)
    optimize_model(folder, [read_recordings()[0][0]], keep_all=True)
    return folder


def load_tiny_model(name: str) -> onnx.ModelProto:
    return widen_model(onnx.load(TINY_PARAKEET_FOLDER / name), TINY_PARAKEET_FOLDER)


def build_session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run_encoder(model: onnx.ModelProto, windows: int = 1) -> NDArray[np.float32]:
    features = LogMelExtractor(inspect_onnx_folder(TINY_PARAKEET_FOLDER).bands)(
        [read_recordings()[0][0]] * windows
    )
    (frames,) = build_session(model).run(
        ["outputs"], {"audio_signal": features.log_mel, "length": features.frame_counts}
    )
    return np.asarray(frames)


@cache
def run_full_encoder() -> NDArray[np.float32]:
    return run_encoder(load_tiny_model(ENCODER))


def build_form(product: ProductBuilder | None) -> onnx.ModelProto:
    model, count = rewrite_products(GraphRewriter(load_tiny_model(ENCODER), TINY_PARAKEET_FOLDER), product)
    assert count > 30
    return model


def transcribe_tokens(folder: Path, quantization: str | None = None) -> list[list[str]]:
    engine = ParakeetOnnx(folder, onnx_options=OnnxOptions(quantization))
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    return [[token.text for token in one.committed] for one in engine.decode(windows)]


def test_an_encoder_with_its_convolutions_turned_into_products_says_the_same() -> None:
    np.testing.assert_allclose(run_encoder(build_form(None)), run_full_encoder(), atol=1e-4)


@pytest.mark.parametrize(
    ("product", "error"),
    [(build_row_product(), 0.03), (build_row_product(REDUCED_STEPS), 0.05), (build_block_product(32), 0.03)],
)
def test_products_of_integers_say_nearly_the_same(product: ProductBuilder, error: float) -> None:
    difference = run_encoder(build_form(product)) - run_full_encoder()
    assert np.sqrt((difference**2).mean() / (run_full_encoder() ** 2).mean()) < error


def test_a_row_is_the_same_to_the_bit_in_any_company() -> None:
    model = build_form(build_row_product())
    alone = run_encoder(model)
    for row in run_encoder(model, windows=5):
        np.testing.assert_array_equal(row, alone[0])


def test_networks_that_were_cut_say_what_the_fused_one_says() -> None:
    parts = split.read_decoder_weights(load_tiny_model(JOINT), TINY_PARAKEET_FOLDER)
    fused = build_session(load_tiny_model(JOINT))
    cut = {
        name: build_session(make(parts, add_float_product))
        for name, make in (
            ("projection", split.build_projection_graph),
            ("prediction", split.build_prediction_graph),
            ("joint", split.build_joint_graph),
        )
    }
    random = np.random.default_rng(0)
    frames = random.normal(size=(3, len(parts.encoder_projection.weights))).astype(np.float32)
    layers, hidden = len(parts.layers), len(parts.layers[0].recurrent_weights)
    state = random.uniform(-1, 1, size=(2, layers, 3, hidden)).astype(np.float32)
    tokens = np.array([3, 17, len(parts.embedding) - 1])
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
    (projected,) = cut["projection"].run(None, {"frames": frames})
    predicted, then = cut["prediction"].run(None, {"tokens": tokens, "memory": memory})
    said = dict(
        zip(
            (one.name for one in cut["joint"].get_outputs()),
            cut["joint"].run(None, {"heard": projected, "predicted": predicted}),
            strict=True,
        )
    )
    scores = logits[:, 0, 0, : len(parts.embedding)]
    np.testing.assert_allclose(said["scores"], scores, atol=2e-2)
    np.testing.assert_allclose(said["durations"], logits[:, 0, 0, len(parts.embedding) :], atol=2e-2)
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(said["certain"], 1 / likely.sum(axis=1), atol=1e-2)
    expected = np.stack((after, cells)).transpose(2, 0, 1, 3).reshape(3, -1)
    np.testing.assert_allclose(then, expected, atol=2e-3)


def test_an_optimized_model_hears_the_same_tokens(optimized: Path) -> None:
    assert transcribe_tokens(optimized, "rowint8") == transcribe_tokens(TINY_PARAKEET_FOLDER)


def test_an_optimized_model_hears_windows_together(optimized: Path) -> None:
    files = inspect_onnx_folder(optimized, "rowint8")
    assert files.split_joint is not None
    assert {file.name for file in files.split_joint} == CUT
    assert not uses_dynamic_quantization(files.encoder)


def test_what_is_heard_does_not_depend_on_company(optimized: Path) -> None:
    engine = ParakeetOnnx(optimized, onnx_options=OnnxOptions("rowint8"))
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    together = [one.committed for one in engine.decode(windows)]
    assert together == [engine.decode([window])[0].committed for window in windows]


def test_terms_are_listened_for_as_by_the_networks_that_were_not_cut(optimized: Path) -> None:
    terms = Hotwords(tuple(Hotword(term, 4.0) for term in ("carol", "bedroom window", "seven")))
    options = DecodeOptions(hotwords=terms)
    windows = [replace(build_whole_window(audio), options=options) for audio, _ in read_recordings()]
    cut, fused = (
        ParakeetOnnx(folder, onnx_options=OnnxOptions(form))
        for folder, form in ((optimized, "rowint8"), (TINY_PARAKEET_FOLDER, None))
    )
    told, untold = (
        [join_tokens(one.committed) for one in cut.decode(some)]
        for some in (windows, [build_whole_window(audio) for audio, _ in read_recordings()])
    )
    assert told == [join_tokens(one.committed) for one in fused.decode(windows)]
    assert told != untold


def test_originals_stay_and_only_the_fastest_form_is_kept(copy: Path) -> None:
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    outcome = optimize_model(copy, [read_recordings()[0][0]])
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.name in before} == before
    added = {file.name for file in copy.iterdir()} - set(before)
    assert added == {MANIFEST_FILE, *(file.name for file in outcome.new_files)}
    assert added >= CUT
    assert len(added - CUT - {MANIFEST_FILE}) <= 1
    assert inspect_onnx_folder(copy).encoder.name == outcome.chosen.encoder.name
    assert outcome.trials[1].measure_agreement(outcome.trials[0]) == 1.0


def test_large_tensors_lie_in_a_file_of_their_own(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizing, "EXTERNAL_DATA_BYTES", 100_000)
    optimize_model(copy, keep_all=True)
    assert (copy / "encoder-model.rowint8.onnx.data").stat().st_size > 1_000_000
    assert transcribe_tokens(copy, "rowint8") == transcribe_tokens(TINY_PARAKEET_FOLDER)


def test_a_model_whose_large_tensors_lie_beside_it_is_read(copy: Path) -> None:
    whole_model = load_tiny_model(ENCODER)
    (copy / ENCODER).unlink()
    onnx.save(
        whole_model,
        copy / "encoder-model.onnx",
        save_as_external_data=True,
        location="encoder-model.onnx.data",
    )
    optimize_model(copy, keep_all=True)
    assert "encoder-model.onnx.data" in read_sources(copy)
    assert transcribe_tokens(copy, "rowint8") == transcribe_tokens(TINY_PARAKEET_FOLDER)


def test_a_ctc_export_is_optimized_too(copy: Path) -> None:
    for name in (ENCODER, JOINT):
        (copy / name).unlink()
    files = sorted(TINY_PARAKEET_FOLDER.glob("model*.onnx"))
    if not files:
        pytest.skip("The fixture has no CTC export.")
    shutil.copy(files[0], copy / files[0].name)
    (copy / "config.json").write_text('{"model_type": "nemo-conformer-ctc", "features_size": 128}')
    optimize_model(copy, keep_all=True)
    assert inspect_onnx_folder(copy, "rowint8").encoder.name == "model.rowint8.onnx"


def test_a_decoding_graph_of_another_build_stays_in_one_piece(copy: Path) -> None:
    model = onnx.load(copy / JOINT)
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, copy / JOINT)
    outcome = optimize_model(copy, keep_all=True)
    assert outcome.notes[0] == f"{JOINT} stays in one piece. Relu is not where it is expected."
    assert inspect_onnx_folder(copy).split_joint is None


def nothing_whole(folder: Path) -> None:
    (folder / ENCODER).rename(folder / "encoder-model.int8.onnx")


def cut_off(folder: Path) -> None:
    data = (folder / ENCODER).read_bytes()
    (folder / ENCODER).write_bytes(data[: len(data) // 2])


def cut_off_networks(folder: Path) -> None:
    data = (folder / JOINT).read_bytes()
    (folder / JOINT).write_bytes(data[: len(data) // 2])


def tensors_gone(folder: Path) -> None:
    model = load_tiny_model(ENCODER)
    onnx.save(model, folder / ENCODER, save_as_external_data=True, location="gone.data")
    (folder / "gone.data").unlink()


def quantized_already(folder: Path) -> None:
    onnx.save(build_form(build_row_product()), folder / ENCODER)


def done_before(folder: Path) -> None:
    shutil.copy(folder / ENCODER, folder / "encoder-model.rowint8.onnx")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (nothing_whole, "echoic models get tiny --quantization none"),
        (cut_off, "is cut off or damaged"),
        (cut_off_networks, "is cut off or damaged"),
        (tensors_gone, "a file beside it"),
        (quantized_already, "is quantized already"),
        (done_before, "--again"),
    ],
)
def test_what_cannot_be_optimized_is_told_and_left_as_it_was(
    copy: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    spoil(copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    with pytest.raises((OptimizeError, ModelUnavailable), match=complaint):
        optimize_model(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


def test_a_full_disk_is_told_before_anything_is_written(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizing, "_MIN_FREE_BYTES", 10**18)
    with pytest.raises(OptimizeError, match="make room and try again"):
        optimize_model(copy)


def test_a_disk_that_fills_up_leaves_the_model_as_it_was(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(copy.iterdir())
    monkeypatch.setattr(onnx, "save", full_disk)
    with pytest.raises(OptimizeError, match=r"No space left on device\. The model is as it was"):
        optimize_model(copy)
    assert sorted(copy.iterdir()) == before


def test_a_folder_without_a_model_is_refused_with_the_command_that_brings_one(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="echoic models get"):
        optimize_model(tmp_path)


def build_trial(name: str, milliseconds: float, tokens: str) -> FormTrial:
    return FormTrial(Path(name), 1, (milliseconds,), (tuple(tokens),))


def test_the_fastest_is_chosen_of_those_that_agree() -> None:
    source, quick, deaf = (
        build_trial("a", 10, "abcdef"),
        build_trial("b", 4, "abcdef"),
        build_trial("c", 2, "xyzabc"),
    )
    assert pick_fastest([source, quick, deaf]) is quick
    assert pick_fastest([source, build_trial("b", 11, "abcdef")]) is source


def test_the_original_stays_where_nothing_agrees_with_it_or_nothing_is_heard() -> None:
    source = build_trial("a", 10, "abcdefghij")
    assert (
        pick_fastest([source, build_trial("b", 4, "abcdefghix"), build_trial("c", 2, "abcdefghxy")]) is source
    )
    silent = build_trial("a", 10, "")
    assert pick_fastest([silent, build_trial("b", 4, "")]) is silent


def make_form_win(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the form of this number be the fastest, as it may be on another machine."""
    monkeypatch.setattr(optimizing, "pick_fastest", lambda trials: trials[number])


@pytest.mark.parametrize(("number", "form"), [(1, "rowint8"), (2, "blockint8"), (0, "fp16")])
@pytest.mark.parametrize("keep_all", [True, False])
def test_what_was_chosen_is_loaded_whatever_else_is_there(
    copy: Path, monkeypatch: pytest.MonkeyPatch, number: int, form: str, *, keep_all: bool
) -> None:
    make_form_win(monkeypatch, 1)
    optimize_model(copy, [read_recordings()[0][0]])
    make_form_win(monkeypatch, number)
    optimize_model(copy, [read_recordings()[0][0]], force=True, keep_all=keep_all)
    files = inspect_onnx_folder(copy)
    assert (files.encoder.name, files.outdated_reason) == (f"encoder-model.{form}.onnx", "")
    assert files.split_joint is not None
    there = {file.name.split(".")[1] for file in copy.glob("encoder-model.*")}
    assert there == ({"fp16", "rowint8", "blockint8"} if keep_all else {"fp16", form})


def test_networks_that_were_cut_are_not_kept_unless_they_were_tried_and_agree(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agreement(tried: FormTrial, _first: FormTrial) -> float:
        return 0.5 if tried.is_split else 1.0

    monkeypatch.setattr(FormTrial, "measure_agreement", agreement)
    outcome = optimize_model(copy, [read_recordings()[0][0]])
    assert {file.name for file in copy.iterdir()} == {
        ENCODER,
        JOINT,
        "vocab.txt",
        "config.json",
        MANIFEST_FILE,
    }
    assert outcome.trials[-1].is_split
    assert outcome.trials[-1].encoder.name == ENCODER
    assert "so none of them is taken" in outcome.notes[-1]


def test_without_speech_to_compare_the_original_stays_and_that_is_told(copy: Path) -> None:
    outcome = optimize_model(copy)
    assert outcome.chosen is outcome.trials[0]
    assert "give --audio" in outcome.notes[-1]
    assert inspect_onnx_folder(copy).encoder.name == ENCODER


def read_sources(folder: Path) -> set[str]:
    record = read_optimized_manifest(folder)
    assert record is not None
    return set(record.sources)


def test_a_form_whose_original_was_replaced_is_left_out_and_that_is_told(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_form_win(monkeypatch, 1)
    optimize_model(copy, [read_recordings()[0][0]])
    data = (copy / ENCODER).read_bytes()
    (copy / ENCODER).write_bytes(data)
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.rowint8.onnx"
    model = onnx.load(copy / ENCODER)
    model.producer_version = "another"
    onnx.save(model, copy / ENCODER)
    files = inspect_onnx_folder(copy)
    assert (files.encoder.name, files.split_joint) == (ENCODER, None)
    ParakeetOnnx(copy).close()
    assert "is not what is there now. Make them anew: echoic models optimize tiny --again" in caplog.text
    with pytest.raises(ModelUnavailable, match="Make them anew"):
        inspect_onnx_folder(copy, "rowint8")
    optimize_model(copy, [read_recordings()[0][0]], force=True)
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.rowint8.onnx"


@pytest.mark.parametrize("text", ["", "[]", '{"encoder": "../x", "networks": [], "sources": {}}'])
def test_a_record_that_cannot_be_read_lets_no_made_form_be_loaded(copy: Path, text: str) -> None:
    shutil.copy(copy / ENCODER, copy / "encoder-model.rowint8.onnx")
    (copy / MANIFEST_FILE).write_text(text)
    files = inspect_onnx_folder(copy)
    assert files.encoder.name == ENCODER
    assert "cannot be read" in files.outdated_reason


def test_one_process_at_a_time_makes_or_fetches_a_model(copy: Path) -> None:
    with (
        FileLock(copy.with_name(f".{copy.name}.lock"), timeout=0),
        pytest.raises(OptimizeError, match="Another process makes or fetches tiny"),
    ):
        optimize_model(copy)
