"""Files and configurations of NeMo models, without NeMo."""

from __future__ import annotations

import copy
import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from echoic.engines.parakeet.nemo_files import (
    NEMO_CONFIG_FILE,
    NEMO_WEIGHTS_FILE,
    inspect_nemo_model,
    read_architecture,
)
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODULES = "nemo.collections.asr.modules"
TDT: dict[str, Any] = {
    "target": "nemo.collections.asr.models.rnnt_bpe_models.EncDecRNNTBPEModel",
    "model_defaults": {"tdt_durations": [0, 1, 2, 3, 4]},
    "preprocessor": {
        "_target_": f"{MODULES}.X",
        "sample_rate": 16_000,
        "normalize": "per_feature",
        "features": 128,
    },
    "encoder": {"_target_": f"{MODULES}.ConformerEncoder", "subsampling_factor": 8},
    "decoder": {"_target_": f"{MODULES}.RNNTDecoder"},
    "joint": {
        "_target_": f"{MODULES}.RNNTJoint",
        "num_extra_outputs": 5,
        "num_classes": 4,
        "vocabulary": ["<unk>", "▁a", "b", "<|en|>"],
    },
    "decoding": {"greedy": {"max_symbols": 7}},
}
HEAD = {"decoder": {"_target_": f"{MODULES}.ConvASRDecoder", "vocabulary": ["<unk>", "▁c"]}}
PARTS = {NEMO_CONFIG_FILE: b"target: x", NEMO_WEIGHTS_FILE: b"w" * 5_000, "tokenizer.model": b"t"}


def build_config(**changes: object) -> dict[str, Any]:
    """A TDT's configuration; ``joint__num_classes=3`` changes that of its section ``joint``."""
    changed = copy.deepcopy(TDT)
    for name, value in changes.items():
        *sections, key = name.split("__")
        part = changed
        for section in sections:
            part = part[section]
        part[key] = value
    return changed


def write_archive(
    file: Path, parts: Mapping[str, bytes] = PARTS, prefix: str = "./", mode: str = "w"
) -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]  # the mode is a str here
        for name, data in parts.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def write_unpacked(folder: Path, parts: Mapping[str, bytes] = PARTS) -> Path:
    folder.mkdir()
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("prefix", ["./", ""])
def test_the_parts_of_an_archive_are_readable(tmp_path: Path, prefix: str) -> None:
    parts = inspect_nemo_model(write_archive(tmp_path / "model.nemo", prefix=prefix))
    with parts.open_part(parts.weights) as opened:
        opened.seek(4_990)
        assert opened.read() == b"w" * 10
    with parts.open_part(parts.config) as opened:
        assert opened.read() == PARTS[NEMO_CONFIG_FILE]


def test_a_folder_may_hold_the_parts_or_the_archive(tmp_path: Path) -> None:
    parts = inspect_nemo_model(write_unpacked(tmp_path / "parts"))
    with parts.open_part(parts.config) as opened:
        assert opened.read() == PARTS[NEMO_CONFIG_FILE]
    folder = tmp_path / "fetched"
    folder.mkdir()
    write_archive(folder / "parakeet.nemo")
    assert inspect_nemo_model(folder).path == folder / "parakeet.nemo"


def test_a_missing_or_broken_file_names_the_cause(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "model.nemo")
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:4_000])
    (tmp_path / "noise.nemo").write_bytes(b"\x07" * 5_000)
    (tmp_path / "empty.nemo").write_bytes(b"")
    (tmp_path / "pointer.nemo").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    write_archive(tmp_path / "old.nemo", mode="w:gz")
    write_archive(tmp_path / "other.nemo", {NEMO_CONFIG_FILE: b"x"})
    write_unpacked(tmp_path / "half", {NEMO_CONFIG_FILE: b"x"})
    (tmp_path / "bare").mkdir()
    reasons = {
        "cut": "is cut off",
        "noise.nemo": "it is not a tar archive",
        "empty.nemo": "is empty",
        "pointer.nemo": "git lfs pull",
        "old.nemo": "unpack it",
        "other.nemo": f"does not contain {NEMO_WEIGHTS_FILE}",
        "half": f"{NEMO_WEIGHTS_FILE} is missing in {tmp_path / 'half'}",
        "bare": "no .nemo file and no",
        "nothing": "nothing is missing in",
        ".": "6 .nemo files; name one",
    }
    for name, reason in reasons.items():
        with pytest.raises(ModelUnavailable) as error:
            inspect_nemo_model(tmp_path / name)
        assert reason in error.value.reason, name
        assert error.value.install == "echoic models get parakeet-tdt-0.6b-v3-nemo"


def test_a_tdt_has_pieces_and_durations() -> None:
    read = read_architecture(build_config())
    assert (read.kind, read.durations, read.max_symbols) == ("tdt", (0, 1, 2, 3, 4), 7)
    assert (read.bands, read.subsampling) == (128, 8)
    assert read.pieces == ("", " a", "b", "")
    assert set(read.module_configs) == {"encoder", "decoder", "joint"}
    named = build_config(decoding={"durations": [0, 1, 2, 4, 8], "greedy": {"max_symbols": None}})
    assert (read_architecture(named).durations, read_architecture(named).max_symbols) == ((0, 1, 2, 4, 8), 10)


def test_an_rnnt_has_no_durations() -> None:
    read = read_architecture(build_config(joint__num_extra_outputs=0, decoding=None))
    assert (read.kind, read.durations, read.max_symbols) == ("rnnt", (), 10)


def test_a_hybrid_is_a_transducer_by_default() -> None:
    hybrid = build_config(target="models.EncDecHybridRNNTCTCBPEModel", aux_ctc=HEAD)
    assert read_architecture(hybrid).kind == "tdt"
    read = read_architecture(hybrid, "ctc")
    assert (read.kind, read.pieces, set(read.module_configs)) == (
        "ctc",
        ("", " c"),
        {"encoder", "ctc_decoder"},
    )


def test_the_decoder_of_a_ctc_model_is_its_head() -> None:
    read = read_architecture(build_config(target="models.EncDecCTCModelBPE", **HEAD))
    assert (read.kind, set(read.module_configs)) == ("ctc", {"encoder", "decoder"})


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        (
            {"target": "nemo.collections.asr.models.label_models.EncDecSpeakerLabelModel"},
            "EncDecSpeakerLabel",
        ),
        ({"target": None}, "The model is a None"),
        ({"preprocessor__normalize": "NA"}, "cache-aware streaming"),
        ({"preprocessor__sample_rate": 8_000}, "sample_rate is 8000 and not 16000"),
        ({"preprocessor__features": None}, "features = None"),
        ({"encoder__att_context_style": "chunked_limited"}, "cache-aware streaming"),
        ({"encoder___target_": f"{MODULES}.SqueezeformerEncoder"}, "SqueezeformerEncoder"),
        ({"encoder": None}, "no section 'encoder'"),
        ({"encoder__reduction": "pooling"}, "reduces frames a second time"),
        ({"decoder___target_": f"{MODULES}.StatelessTransducerDecoder"}, "StatelessTransducerDecoder"),
        (
            {"joint__num_extra_outputs": 4},
            "predicts 4 durations, but the configuration names [0, 1, 2, 3, 4]",
        ),
        ({"model_defaults": {}}, "does not name the durations"),
        ({"joint__vocabulary": None}, "does not contain the vocabulary"),
        ({"joint__num_classes": 5}, "does not contain the vocabulary"),
    ],
)
def test_other_models_are_rejected_with_a_reason(changes: dict[str, object], reasons: str) -> None:
    with pytest.raises(ModelUnavailable) as error:
        read_architecture(build_config(**changes))
    assert reasons in error.value.reason


def test_a_missing_head_is_named() -> None:
    with pytest.raises(ModelUnavailable, match="has no ctc head"):
        read_architecture(build_config(), "ctc")
