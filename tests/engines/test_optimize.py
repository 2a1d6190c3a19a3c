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

from echoic.engines import optimize as optimizing
from echoic.engines import optimize_cut
from echoic.engines.features import LogMel
from echoic.engines.optimize import NotOptimized, fastest, optimize
from echoic.engines.optimize_graph import FEWER_STEPS, Graph, by_blocks, by_rows, plain, rewritten, widened
from echoic.engines.optimize_trial import Trial
from echoic.engines.parakeet_files import look_through, quantized_by_company
from echoic.engines.parakeet_onnx import ParakeetOnnx, Runtime
from echoic.engines.parakeet_record import RECORD, read_record
from echoic.errors import ModelUnavailable
from echoic.session.window import DecodeOptions
from echoic.text.vocabulary import Hotword, Hotwords
from support.tiny_parakeet import FOLDER, recordings, text_of, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from echoic.engines.optimize_graph import Product

ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"
CUT = {f"{part}-model.rowint8.onnx" for part in ("projection", "prediction", "joint")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with nothing in it but an export of a transducer in half precision."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in (ENCODER, JOINT, "vocab.txt", "config.json"):
        shutil.copy(FOLDER / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimized")
    for name in (ENCODER, JOINT, "vocab.txt", "config.json"):
        shutil.copy(FOLDER / name, folder / name)
    optimize(folder, [recordings()[0][0]], keep_all=True)
    return folder


def opened(name: str) -> onnx.ModelProto:
    return widened(onnx.load(FOLDER / name), FOLDER)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def encoded(model: onnx.ModelProto, windows: int = 1) -> NDArray[np.float32]:
    features = LogMel(look_through(FOLDER).bands)([recordings()[0][0]] * windows)
    (frames,) = session(model).run(["outputs"], {"audio_signal": features.bands, "length": features.frames})
    return np.asarray(frames)


@cache
def full() -> NDArray[np.float32]:
    return encoded(opened(ENCODER))


def form(product: Product | None) -> onnx.ModelProto:
    model, count = rewritten(Graph(opened(ENCODER), FOLDER), product)
    assert count > 30
    return model


def heard(folder: Path, quantization: str | None = None) -> list[list[str]]:
    engine = ParakeetOnnx(folder, runtime=Runtime(quantization))
    windows = [whole(audio) for audio, _ in recordings()]
    return [[token.text for token in one.committed] for one in engine.decode(windows)]


def test_an_encoder_with_its_convolutions_turned_into_products_says_the_same() -> None:
    np.testing.assert_allclose(encoded(form(None)), full(), atol=1e-4)


@pytest.mark.parametrize(
    ("product", "error"), [(by_rows(), 0.03), (by_rows(FEWER_STEPS), 0.05), (by_blocks(32), 0.03)]
)
def test_products_of_integers_say_nearly_the_same(product: Product, error: float) -> None:
    difference = encoded(form(product)) - full()
    assert np.sqrt((difference**2).mean() / (full() ** 2).mean()) < error


def test_a_row_is_the_same_to_the_bit_in_any_company() -> None:
    model = form(by_rows())
    alone = encoded(model)
    for row in encoded(model, windows=5):
        np.testing.assert_array_equal(row, alone[0])


def test_networks_that_were_cut_say_what_the_fused_one_says() -> None:
    parts = optimize_cut.read_parts(opened(JOINT), FOLDER)
    fused = session(opened(JOINT))
    cut = {
        name: session(make(parts, plain))
        for name, make in (
            ("projection", optimize_cut.projection),
            ("prediction", optimize_cut.prediction),
            ("joint", optimize_cut.joint),
        )
    }
    random = np.random.default_rng(0)
    frames = random.normal(size=(3, len(parts.heard.weights))).astype(np.float32)
    layers, hidden = len(parts.layers), len(parts.layers[0].back)
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
    assert heard(optimized, "rowint8") == heard(FOLDER)


def test_an_optimized_model_hears_windows_together(optimized: Path) -> None:
    files = look_through(optimized, "rowint8")
    assert files.cut is not None
    assert {file.name for file in files.cut} == CUT
    assert not quantized_by_company(files.encoder)


def test_what_is_heard_does_not_depend_on_company(optimized: Path) -> None:
    engine = ParakeetOnnx(optimized, runtime=Runtime("rowint8"))
    windows = [whole(audio) for audio, _ in recordings()]
    together = [one.committed for one in engine.decode(windows)]
    assert together == [engine.decode([window])[0].committed for window in windows]


def test_terms_are_listened_for_as_by_the_networks_that_were_not_cut(optimized: Path) -> None:
    terms = Hotwords(tuple(Hotword(term, 4.0) for term in ("carol", "bedroom window", "seven")))
    options = DecodeOptions(hotwords=terms)
    windows = [replace(whole(audio), options=options) for audio, _ in recordings()]
    cut, fused = (
        ParakeetOnnx(folder, runtime=Runtime(form))
        for folder, form in ((optimized, "rowint8"), (FOLDER, None))
    )
    told, untold = (
        [text_of(one.committed) for one in cut.decode(some)]
        for some in (windows, [whole(audio) for audio, _ in recordings()])
    )
    assert told == [text_of(one.committed) for one in fused.decode(windows)]
    assert told != untold


def test_originals_stay_and_only_the_fastest_form_is_kept(copy: Path) -> None:
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    outcome = optimize(copy, [recordings()[0][0]])
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.name in before} == before
    added = {file.name for file in copy.iterdir()} - set(before)
    assert added == {RECORD, *(file.name for file in outcome.kept)}
    assert added >= CUT
    assert len(added - CUT - {RECORD}) <= 1
    assert look_through(copy).encoder.name == outcome.taken.encoder.name
    assert outcome.trials[1].agreement(outcome.trials[0]) == 1.0


def test_large_tensors_lie_in_a_file_of_their_own(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizing, "LARGE", 100_000)
    optimize(copy, keep_all=True)
    assert (copy / "encoder-model.rowint8.onnx.data").stat().st_size > 1_000_000
    assert heard(copy, "rowint8") == heard(FOLDER)


def test_a_model_whose_large_tensors_lie_beside_it_is_read(copy: Path) -> None:
    whole_model = opened(ENCODER)
    (copy / ENCODER).unlink()
    onnx.save(
        whole_model,
        copy / "encoder-model.onnx",
        save_as_external_data=True,
        location="encoder-model.onnx.data",
    )
    optimize(copy, keep_all=True)
    assert "encoder-model.onnx.data" in read_sources(copy)
    assert heard(copy, "rowint8") == heard(FOLDER)


def test_a_ctc_export_is_optimized_too(copy: Path) -> None:
    for name in (ENCODER, JOINT):
        (copy / name).unlink()
    files = sorted(FOLDER.glob("model*.onnx"))
    if not files:
        pytest.skip("The fixture has no CTC export.")
    shutil.copy(files[0], copy / files[0].name)
    (copy / "config.json").write_text('{"model_type": "nemo-conformer-ctc", "features_size": 128}')
    optimize(copy, keep_all=True)
    assert look_through(copy, "rowint8").encoder.name == "model.rowint8.onnx"


def test_a_decoding_graph_of_another_build_stays_in_one_piece(copy: Path) -> None:
    model = onnx.load(copy / JOINT)
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, copy / JOINT)
    outcome = optimize(copy, keep_all=True)
    assert outcome.notes[0] == f"{JOINT} stays in one piece. Relu is not where it is expected."
    assert look_through(copy).cut is None


def nothing_whole(folder: Path) -> None:
    (folder / ENCODER).rename(folder / "encoder-model.int8.onnx")


def cut_off(folder: Path) -> None:
    data = (folder / ENCODER).read_bytes()
    (folder / ENCODER).write_bytes(data[: len(data) // 2])


def cut_off_networks(folder: Path) -> None:
    data = (folder / JOINT).read_bytes()
    (folder / JOINT).write_bytes(data[: len(data) // 2])


def tensors_gone(folder: Path) -> None:
    model = opened(ENCODER)
    onnx.save(model, folder / ENCODER, save_as_external_data=True, location="gone.data")
    (folder / "gone.data").unlink()


def quantized_already(folder: Path) -> None:
    onnx.save(form(by_rows()), folder / ENCODER)


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
    with pytest.raises((NotOptimized, ModelUnavailable), match=complaint):
        optimize(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


def test_a_full_disk_is_told_before_anything_is_written(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizing, "_LEAST", 10**18)
    with pytest.raises(NotOptimized, match="make room and try again"):
        optimize(copy)


def test_a_disk_that_fills_up_leaves_the_model_as_it_was(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(copy.iterdir())
    monkeypatch.setattr(onnx, "save", full_disk)
    with pytest.raises(NotOptimized, match=r"No space left on device\. The model is as it was"):
        optimize(copy)
    assert sorted(copy.iterdir()) == before


def test_a_folder_without_a_model_is_refused_with_the_command_that_brings_one(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="echoic models get"):
        optimize(tmp_path)


def trial(name: str, milliseconds: float, tokens: str) -> Trial:
    return Trial(Path(name), 1, (milliseconds,), (tuple(tokens),))


def test_the_fastest_is_chosen_of_those_that_agree() -> None:
    source, quick, deaf = trial("a", 10, "abcdef"), trial("b", 4, "abcdef"), trial("c", 2, "xyzabc")
    assert fastest([source, quick, deaf]) is quick
    assert fastest([source, trial("b", 11, "abcdef")]) is source


def test_the_original_stays_where_nothing_agrees_with_it_or_nothing_is_heard() -> None:
    source = trial("a", 10, "abcdefghij")
    assert fastest([source, trial("b", 4, "abcdefghix"), trial("c", 2, "abcdefghxy")]) is source
    silent = trial("a", 10, "")
    assert fastest([silent, trial("b", 4, "")]) is silent


def form_wins(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the form of this number be the fastest, as it may be on another machine."""
    monkeypatch.setattr(optimizing, "fastest", lambda trials: trials[number])


@pytest.mark.parametrize(("number", "form"), [(1, "rowint8"), (2, "blockint8"), (0, "fp16")])
@pytest.mark.parametrize("keep_all", [True, False])
def test_what_was_chosen_is_loaded_whatever_else_is_there(
    copy: Path, monkeypatch: pytest.MonkeyPatch, number: int, form: str, *, keep_all: bool
) -> None:
    form_wins(monkeypatch, 1)
    optimize(copy, [recordings()[0][0]])
    form_wins(monkeypatch, number)
    optimize(copy, [recordings()[0][0]], again=True, keep_all=keep_all)
    files = look_through(copy)
    assert (files.encoder.name, files.outdated) == (f"encoder-model.{form}.onnx", "")
    assert files.cut is not None
    there = {file.name.split(".")[1] for file in copy.glob("encoder-model.*")}
    assert there == ({"fp16", "rowint8", "blockint8"} if keep_all else {"fp16", form})


def test_networks_that_were_cut_are_not_kept_unless_they_were_tried_and_agree(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agreement(tried: Trial, _first: Trial) -> float:
        return 0.5 if tried.cut else 1.0

    monkeypatch.setattr(Trial, "agreement", agreement)
    outcome = optimize(copy, [recordings()[0][0]])
    assert {file.name for file in copy.iterdir()} == {ENCODER, JOINT, "vocab.txt", "config.json", RECORD}
    assert outcome.trials[-1].cut
    assert outcome.trials[-1].encoder.name == ENCODER
    assert "so none of them is taken" in outcome.notes[-1]


def test_without_speech_to_compare_the_original_stays_and_that_is_told(copy: Path) -> None:
    outcome = optimize(copy)
    assert outcome.taken is outcome.trials[0]
    assert "give --audio" in outcome.notes[-1]
    assert look_through(copy).encoder.name == ENCODER


def read_sources(folder: Path) -> set[str]:
    record = read_record(folder)
    assert record is not None
    return set(record.sources)


def test_a_form_whose_original_was_replaced_is_left_out_and_that_is_told(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    form_wins(monkeypatch, 1)
    optimize(copy, [recordings()[0][0]])
    data = (copy / ENCODER).read_bytes()
    (copy / ENCODER).write_bytes(data)
    assert look_through(copy).encoder.name == "encoder-model.rowint8.onnx"
    model = onnx.load(copy / ENCODER)
    model.producer_version = "another"
    onnx.save(model, copy / ENCODER)
    files = look_through(copy)
    assert (files.encoder.name, files.cut) == (ENCODER, None)
    ParakeetOnnx(copy).close()
    assert "is not what is there now. Make them anew: echoic models optimize tiny --again" in caplog.text
    with pytest.raises(ModelUnavailable, match="Make them anew"):
        look_through(copy, "rowint8")
    optimize(copy, [recordings()[0][0]], again=True)
    assert look_through(copy).encoder.name == "encoder-model.rowint8.onnx"


@pytest.mark.parametrize("text", ["", "[]", '{"encoder": "../x", "networks": [], "sources": {}}'])
def test_a_record_that_cannot_be_read_lets_no_made_form_be_loaded(copy: Path, text: str) -> None:
    shutil.copy(copy / ENCODER, copy / "encoder-model.rowint8.onnx")
    (copy / RECORD).write_text(text)
    files = look_through(copy)
    assert files.encoder.name == ENCODER
    assert "cannot be read" in files.outdated


def test_one_process_at_a_time_makes_or_fetches_a_model(copy: Path) -> None:
    with (
        FileLock(copy.with_name(f".{copy.name}.lock"), timeout=0),
        pytest.raises(NotOptimized, match="Another process makes or fetches tiny"),
    ):
        optimize(copy)
