from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from filelock import FileLock

from echoic.engines.optimize import optimizer
from echoic.engines.optimize.benchmark import ModelTrial
from echoic.engines.optimize.manifest import (
    MANIFEST_FILE,
    OptimizedManifest,
    digest_files,
    read_optimized_manifest,
    write_optimized_manifest,
)
from echoic.engines.optimize.optimizer import ROW_FORM, OptimizeError, optimize_model
from echoic.engines.optimize.quantize import (
    QUANTIZATION_STEPS,
    GraphRewriter,
    rewrite_products,
    widen_model,
)
from echoic.engines.parakeet.onnx import OnnxOptions, ParakeetOnnx
from echoic.engines.parakeet.onnx_files import OnnxModelFiles, inspect_onnx_folder, uses_dynamic_quantization
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import DecodeOptions
from echoic.text.vocabulary import Hotword, Hotwords
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
    write_ctc_folder,
)

SetOutcome = Callable[..., None]
ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"
SPLIT_FILES = {f"{part}-model.rowint8.onnx" for part in ("projection", "prediction", "joint")}


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


def transcribe_tokens(folder: Path, quantization: str | None = None) -> list[list[str]]:
    engine = ParakeetOnnx(folder, onnx_options=OnnxOptions(quantization))
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    return [[token.text for token in one.committed] for one in engine.decode(windows)]


def test_an_optimized_model_recognizes_the_same_tokens(optimized: Path) -> None:
    assert transcribe_tokens(optimized, "rowint8") == transcribe_tokens(TINY_PARAKEET_FOLDER)


def test_an_optimized_model_decodes_batches(optimized: Path) -> None:
    files = inspect_onnx_folder(optimized, "rowint8")
    assert files.split_joint is not None
    assert {file.name for file in files.split_joint} == SPLIT_FILES
    assert not uses_dynamic_quantization(files.encoder)


def test_a_window_has_the_same_result_in_any_batch(optimized: Path) -> None:
    engine = ParakeetOnnx(optimized, onnx_options=OnnxOptions("rowint8"))
    windows = [build_whole_window(audio) for audio, _ in read_recordings()]
    together = [one.committed for one in engine.decode(windows)]
    assert together == [engine.decode([window])[0].committed for window in windows]


def test_split_networks_are_biased_like_the_fused_one(optimized: Path) -> None:
    terms = Hotwords(tuple(Hotword(term, 4.0) for term in ("carol", "bedroom window", "seven")))
    options = DecodeOptions(hotwords=terms)
    windows = [replace(build_whole_window(audio), options=options) for audio, _ in read_recordings()]
    cut, fused = (
        ParakeetOnnx(folder, onnx_options=OnnxOptions(form))
        for folder, form in ((optimized, "rowint8"), (TINY_PARAKEET_FOLDER, None))
    )
    biased, unbiased = (
        [join_tokens(one.committed) for one in cut.decode(some)]
        for some in (windows, [build_whole_window(audio) for audio, _ in read_recordings()])
    )
    assert biased == [join_tokens(one.committed) for one in fused.decode(windows)]
    assert biased != unbiased


def test_original_files_stay_and_new_ones_are_reported(copy: Path) -> None:
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    outcome = optimize_model(copy, [read_recordings()[0][0]])
    assert {file.name: file.read_bytes() for file in copy.iterdir() if file.name in before} == before
    added = {file.name for file in copy.iterdir()} - set(before)
    assert added == {MANIFEST_FILE, *(file.name for file in outcome.new_files)}
    assert added >= SPLIT_FILES
    assert len(added - SPLIT_FILES - {MANIFEST_FILE}) <= 1
    assert inspect_onnx_folder(copy).encoder.name == outcome.chosen.encoder.name
    assert outcome.trials[1].measure_agreement(outcome.trials[0]) == 1.0


def test_large_tensors_are_written_to_a_separate_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "EXTERNAL_DATA_BYTES", 100_000)
    optimize_model(copy, keep_all=True)
    assert (copy / "encoder-model.rowint8.onnx.data").stat().st_size > 1_000_000
    assert transcribe_tokens(copy, "rowint8") == transcribe_tokens(TINY_PARAKEET_FOLDER)


def test_external_tensors_of_the_original_are_read(copy: Path) -> None:
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


def test_a_ctc_export_is_optimized_too(tmp_path: Path, outcomes: SetOutcome) -> None:
    folder = write_ctc_folder(tmp_path / "ctc")
    outcomes(4, "abcdefghij")
    optimize_model(folder)
    assert inspect_onnx_folder(folder).encoder.name == "model.rowint8.onnx"


def test_a_fused_network_of_another_structure_is_not_split(copy: Path) -> None:
    model = onnx.load(copy / JOINT)
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, copy / JOINT)
    outcome = optimize_model(copy, keep_all=True)
    assert outcome.notes[0] == f"{JOINT} was not split. Relu is not where it is expected."
    assert inspect_onnx_folder(copy).split_joint is None


def remove_unquantized_encoder(folder: Path) -> None:
    (folder / ENCODER).rename(folder / "encoder-model.int8.onnx")


def truncate_encoder(folder: Path) -> None:
    data = (folder / ENCODER).read_bytes()
    (folder / ENCODER).write_bytes(data[: len(data) // 2])


def truncate_joint(folder: Path) -> None:
    data = (folder / JOINT).read_bytes()
    (folder / JOINT).write_bytes(data[: len(data) // 2])


def remove_external_tensors(folder: Path) -> None:
    model = load_tiny_model(ENCODER)
    onnx.save(model, folder / ENCODER, save_as_external_data=True, location="gone.data")
    (folder / "gone.data").unlink()


def quantize_encoder(folder: Path) -> None:
    graph = GraphRewriter(load_tiny_model(ENCODER), folder, QUANTIZATION_STEPS)
    rewrite_products(graph)
    onnx.save(graph.build_model(), folder / ENCODER)


def add_optimized_encoder(folder: Path) -> None:
    shutil.copy(folder / ENCODER, folder / "encoder-model.rowint8.onnx")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_unquantized_encoder, "echoic models get tiny --quantization none"),
        (truncate_encoder, "is cut off or damaged"),
        (truncate_joint, "is cut off or damaged"),
        (remove_external_tensors, "a file beside it"),
        (quantize_encoder, "is quantized already"),
        (add_optimized_encoder, "--again"),
    ],
)
def test_an_unsuitable_model_is_refused_and_not_changed(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir()}
    with pytest.raises((OptimizeError, ModelUnavailable), match=message):
        optimize_model(copy)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before


def test_a_full_disk_is_reported_before_any_write(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "_MIN_FREE_BYTES", 10**18)
    with pytest.raises(OptimizeError, match="make room and try again"):
        optimize_model(copy)


def test_a_disk_that_fills_up_leaves_the_model_unchanged(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(copy.iterdir())
    monkeypatch.setattr(onnx, "save", full_disk)
    with pytest.raises(OptimizeError, match=r"No space left on device\. The model is unchanged"):
        optimize_model(copy)
    assert sorted(copy.iterdir()) == before


def test_a_folder_without_a_model_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="echoic models get"):
        optimize_model(tmp_path)


def build_trial(name: str, milliseconds: float, tokens: str) -> ModelTrial:
    return ModelTrial(Path(name), 1, (milliseconds,), (tuple(tokens),))


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> SetOutcome:
    """Replaces the measurements: the original takes 10 ms and recognizes ``abcdefghij``."""

    def set_outcome(milliseconds: float, tokens: str, original: str = "abcdefghij") -> None:
        def run_trial(files: OnnxModelFiles, _audio: object) -> ModelTrial:
            measured = (milliseconds, tokens) if ROW_FORM in files.encoder.name else (10.0, original)
            joint = files.split_joint or ((files.joint,) if files.joint else ())
            names = tuple(one.name for one in joint)
            return replace(build_trial("", *measured), encoder=files.encoder, networks=names)

        monkeypatch.setattr(optimizer, "run_trial", run_trial)

    return set_outcome


def test_a_faster_form_with_the_same_tokens_is_used(copy: Path, outcomes: SetOutcome) -> None:
    outcomes(4, "abcdefghij")
    result = optimize_model(copy)
    assert result.chosen is result.trials[1]
    assert result.notes == ()
    files = inspect_onnx_folder(copy)
    assert (files.encoder.name, files.outdated_reason) == ("encoder-model.rowint8.onnx", "")
    assert files.split_joint is not None


@pytest.mark.parametrize(
    ("measured", "note"),
    [
        ((11, "abcdefghij", "abcdefghij"), "is not faster here"),
        ((4, "abcdefghix", "abcdefghij"), "fewer than 95% of the tokens"),
        ((4, "", "abcdefghij"), "fewer than 95% of the tokens"),
        ((4, "", ""), "Give --audio"),
    ],
)
def test_the_original_stays_in_use_and_a_note_says_why(
    copy: Path, outcomes: SetOutcome, measured: tuple[float, str, str], note: str
) -> None:
    outcomes(*measured)
    result = optimize_model(copy)
    assert result.chosen is result.trials[0]
    assert note in result.notes[-1]
    assert inspect_onnx_folder(copy).encoder.name == ENCODER
    assert result.new_files == ()
    assert not list(copy.glob("*rowint8*"))


def test_a_form_that_is_not_used_is_kept_on_request(copy: Path, outcomes: SetOutcome) -> None:
    outcomes(11, "abcdefghij")
    result = optimize_model(copy, keep_all=True)
    assert {file.name for file in result.new_files} == {*SPLIT_FILES, "encoder-model.rowint8.onnx"}
    assert all(file.is_file() for file in result.new_files)
    assert inspect_onnx_folder(copy).encoder.name == ENCODER


@pytest.mark.parametrize("keep_all", [True, False])
def test_a_model_that_was_optimized_earlier_stays_usable(
    copy: Path, outcomes: SetOutcome, *, keep_all: bool
) -> None:
    """Earlier versions could choose ``blockint8``; it is removed when the model is optimized again."""
    earlier = copy / "encoder-model.blockint8.onnx"
    shutil.copy(copy / ENCODER, earlier)
    manifest = OptimizedManifest(earlier.name, (JOINT,), digest_files([copy / ENCODER]))
    write_optimized_manifest(manifest, copy)
    assert inspect_onnx_folder(copy).encoder == earlier
    outcomes(4, "abcdefghij")
    optimize_model(copy, force=True, keep_all=keep_all)
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.rowint8.onnx"
    assert earlier.exists() == keep_all


def test_without_speech_the_original_stays_with_a_note(copy: Path) -> None:
    outcome = optimize_model(copy)
    assert outcome.chosen is outcome.trials[0]
    assert "Give --audio" in outcome.notes[-1]
    assert inspect_onnx_folder(copy).encoder.name == ENCODER


def read_sources(folder: Path) -> set[str]:
    manifest = read_optimized_manifest(folder)
    assert manifest is not None
    return set(manifest.sources)


def test_a_form_whose_original_was_replaced_is_not_loaded(
    copy: Path, outcomes: SetOutcome, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes(4, "abcdefghij")
    optimize_model(copy)
    data = (copy / ENCODER).read_bytes()
    (copy / ENCODER).write_bytes(data)
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.rowint8.onnx"
    model = onnx.load(copy / ENCODER)
    model.producer_version = "another"
    onnx.save(model, copy / ENCODER)
    files = inspect_onnx_folder(copy)
    assert (files.encoder.name, files.split_joint) == (ENCODER, None)
    ParakeetOnnx(copy).close()
    assert "echoic models optimize tiny --again" in caplog.text
    with pytest.raises(ModelUnavailable, match="echoic models optimize tiny --again"):
        inspect_onnx_folder(copy, "rowint8")
    optimize_model(copy, force=True)
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.rowint8.onnx"


def test_an_unreadable_manifest_lets_no_optimized_form_be_loaded(copy: Path) -> None:
    shutil.copy(copy / ENCODER, copy / "encoder-model.rowint8.onnx")
    (copy / MANIFEST_FILE).write_text("")
    files = inspect_onnx_folder(copy)
    assert files.encoder.name == ENCODER
    assert files.outdated_reason


def test_one_process_at_a_time_writes_to_a_folder(copy: Path) -> None:
    with (
        FileLock(copy.with_name(f".{copy.name}.lock"), timeout=0),
        pytest.raises(OptimizeError, match="Another process is writing to tiny"),
    ):
        optimize_model(copy)
