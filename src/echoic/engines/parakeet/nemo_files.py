"""Locates the parts of a NeMo model on disk, and reads the architecture from its configuration.

A ``.nemo`` file is an uncompressed tar archive of ``model_config.yaml``, ``model_weights.ckpt`` and the
tokenizer's files; the same files may lie in a folder. The configuration contains the vocabulary, so the
tokenizer is not read. This module does not import NeMo or torch.
Source: https://github.com/NVIDIA/NeMo, ``core/connectors/save_restore_connector.py``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal

from echoic.engines.model_files import FolderCheck
from echoic.engines.parakeet.features import HOP_SAMPLES, SAMPLE_RATE, WINDOW_SAMPLES
from echoic.engines.parakeet.onnx_files import HeadKind, render_piece
from echoic.errors import ModelUnavailable

NEMO_MODEL_ID = "parakeet-standard"
#: The commands that install the libraries, and download a model.
NEMO_INSTALL_COMMAND = "pip install 'echoic[nemo]'"
NEMO_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-nemo"
NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE = "model_config.yaml", "model_weights.ckpt"
#: Supported models: their heads by the last part of ``target`` in the configuration.
TARGET_HEADS: Mapping[str, tuple[Literal["transducer", "ctc"], ...]] = MappingProxyType(
    {
        "EncDecRNNTBPEModel": ("transducer",),
        "EncDecHybridRNNTCTCBPEModel": ("transducer", "ctc"),
        "EncDecCTCModelBPE": ("ctc",),
    }
)
#: Required values of ``preprocessor`` in the configuration; a missing key means the required value.
REQUIRED_PREPROCESSOR: Mapping[str, object] = MappingProxyType(
    {
        "sample_rate": SAMPLE_RATE,
        "normalize": "per_feature",
        "window_size": WINDOW_SAMPLES / SAMPLE_RATE,
        "window_stride": HOP_SAMPLES / SAMPLE_RATE,
        "window": "hann",
        "n_fft": 512,
        "frame_splicing": 1,
    }
)
#: The most tokens at one encoder frame, unless the configuration sets it.
#: Source: NeMo's published configurations.
DEFAULT_MAX_SYMBOLS = 10
_GZIP_MAGIC = b"\x1f\x8b"

DecodingHead = Literal["transducer", "ctc"]


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """Options of torch."""

    #: ``auto`` (the first GPU, else the CPU), or torch's name of a device.
    device: str = "auto"
    #: Precision of the networks; 16 bits are faster on hardware that supports them, and change a word now and
    #: then.
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    #: Cores that one call uses on the CPU.
    cores: int = 1
    #: The head of a hybrid to use. If None, the transducer is used if there is one.
    head: DecodingHead | None = None


@dataclass(frozen=True, slots=True)
class NemoModelFiles:
    """The location of a model's parts."""

    #: The archive, or the folder.
    path: Path
    #: The name of the configuration in it.
    config: str
    #: The name of the weights in it.
    weights: str
    #: Whether ``path`` is an archive.
    is_archive: bool

    @contextmanager
    def open_part(self, part: str) -> Iterator[IO[bytes]]:
        """Open one of the parts as a seekable file.

        Raises:
            ModelUnavailable: The archive is truncated.
        """
        if not self.is_archive:
            with (self.path / part).open("rb") as opened:
                yield opened
            return
        try:
            with tarfile.open(self.path, "r:") as archive:
                member = archive.extractfile(part)
                assert member is not None  # noqa: S101  # ``inspect_nemo_model`` checked that it is a file
                yield member
        except tarfile.ReadError as failure:
            raise _build_truncated_error(self.path) from failure


@dataclass(frozen=True, slots=True)
class ParakeetArchitecture:
    """The architecture that a configuration describes."""

    #: The head; of a hybrid the one to use.
    kind: HeadKind
    #: The vocabulary as text, a leading space at the start of a word; without the blank.
    pieces: tuple[str, ...]
    #: Encoder frames of each duration output; empty if the model predicts no durations.
    durations: tuple[int, ...]
    #: Mel bands of the features.
    bands: int
    #: Feature frames per encoder frame.
    subsampling: int
    #: The most tokens at one encoder frame.
    max_symbols: int
    #: The arguments of each module to build, by the prefix of its weights.
    module_configs: Mapping[str, Mapping[str, object]]


def inspect_nemo_model(model: Path) -> NemoModelFiles:
    """Return the location of a model's parts; reads no weights.

    Args:
        model: A ``.nemo`` file, a folder that holds one, or a folder of its unpacked files.

    Raises:
        ModelUnavailable: A file is missing or unusable.
    """
    if model.is_dir():
        if (model / NEMO_CONFIG_FILE).exists():
            for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE):
                _check_file(model / part)
            return NemoModelFiles(model, NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE, is_archive=False)
        files = sorted(model.glob("*.nemo"))
        if len(files) != 1:
            content = (
                f"{len(files)} .nemo files; name one of them"
                if files
                else f"no .nemo file and no {NEMO_CONFIG_FILE}"
            )
            raise build_nemo_error(f"The folder {model} holds {content}.")
        (model,) = files
    _check_file(model)
    return _inspect_archive(model)


def read_architecture(config: Mapping[str, object], head: DecodingHead | None = None) -> ParakeetArchitecture:
    """Return the architecture that a configuration describes.

    Args:
        config: The content of ``model_config.yaml``, resolved.
        head: The head of a hybrid to use. If None, the transducer is used if there is one.

    Raises:
        ModelUnavailable: The model is not a Parakeet, or of an unsupported kind.
    """
    target = str(config.get("target", "nothing")).rpartition(".")[2]
    heads = TARGET_HEADS.get(target)
    if heads is None:
        raise build_nemo_error(f"The model is a {target} of NeMo. Supported are {', '.join(TARGET_HEADS)}.")
    chosen = head or heads[0]
    if chosen not in heads:
        raise build_nemo_error(f"The model is a {target}, which has no {chosen} head.")
    _check_preprocessor(_read_section(config, "preprocessor"))
    encoder = _check_encoder(_read_section(config, "encoder"))
    shape = (
        _read_transducer(config) if chosen == "transducer" else _read_ctc(config, is_hybrid=len(heads) > 1)
    )
    kind, durations, vocabulary, max_symbols, parts = shape
    return ParakeetArchitecture(
        kind,
        tuple(render_piece(str(piece)) for piece in vocabulary),
        durations,
        bands=_read_positive_integer(_read_section(config, "preprocessor"), "features"),
        subsampling=_read_positive_integer(encoder, "subsampling_factor"),
        max_symbols=max_symbols,
        module_configs={"encoder": encoder, **parts},
    )


def build_nemo_error(reason: str, install: str | None = NEMO_DOWNLOAD_COMMAND) -> ModelUnavailable:
    """Return the error for a model that cannot be used, with the command that helps, if there is one."""
    return ModelUnavailable(NEMO_MODEL_ID, reason, install)


_DecoderShape = tuple[
    HeadKind, tuple[int, ...], Sequence[object], int, Mapping[str, Mapping[str, object]]
]  # kind, durations, vocabulary, max_symbols, parts


def _read_transducer(config: Mapping[str, object]) -> _DecoderShape:
    decoder, joint = _read_section(config, "decoder"), _read_section(config, "joint")
    for part, wanted in ((decoder, "RNNTDecoder"), (joint, "RNNTJoint")):
        _check_target(part, wanted)
    extra = joint.get("num_extra_outputs", 0) or 0
    durations = _read_durations(config) if extra else ()
    if len(durations) != extra:
        raise build_nemo_error(
            f"Its joint network predicts {extra} durations, but the configuration names {list(durations)}."
        )
    decoding = config.get("decoding")
    greedy = decoding.get("greedy") if isinstance(decoding, dict) else None
    most = greedy.get("max_symbols") if isinstance(greedy, dict) else None
    return (
        "tdt" if extra else "rnnt",
        durations,
        _read_vocabulary(joint, _read_positive_integer(joint, "num_classes")),
        most if isinstance(most, int) and most > 0 else DEFAULT_MAX_SYMBOLS,
        {"decoder": decoder, "joint": joint},
    )


def _read_ctc(config: Mapping[str, object], *, is_hybrid: bool) -> _DecoderShape:
    decoder = _read_section(_read_section(config, "aux_ctc") if is_hybrid else config, "decoder")
    _check_target(decoder, "ConvASRDecoder")
    vocabulary = _read_vocabulary(decoder, None)
    return "ctc", (), vocabulary, DEFAULT_MAX_SYMBOLS, {"ctc_decoder" if is_hybrid else "decoder": decoder}


def _check_preprocessor(found: Mapping[str, object]) -> None:
    for key, wanted in REQUIRED_PREPROCESSOR.items():
        if found.get(key, wanted) != wanted:
            raise build_nemo_error(
                f"Its features differ from Parakeet's: {key} is {found[key]!r} and not {wanted!r}"
                + (" (a model for cache-aware streaming)." if found.get("normalize") == "NA" else ".")
            )


def _check_encoder(found: Mapping[str, object]) -> Mapping[str, object]:
    _check_target(found, "ConformerEncoder")
    style = found.get("att_context_style", "regular")
    if style != "regular" or found.get("causal_downsampling"):
        raise build_nemo_error(
            f"Its encoder is for cache-aware streaming (att_context_style {style!r}), which is not supported."
        )
    if found.get("reduction"):
        raise build_nemo_error(
            "Its encoder reduces frames a second time (reduction), which no Parakeet does."
        )
    return found


def _check_target(part: Mapping[str, object], wanted: str) -> None:
    found = str(part.get("_target_", "nothing named")).rpartition(".")[2]
    if found != wanted:
        raise build_nemo_error(f"It has a {found} where a Parakeet has a {wanted}.")


def _read_durations(config: Mapping[str, object]) -> tuple[int, ...]:
    for section, key in (("decoding", "durations"), ("model_defaults", "tdt_durations")):
        part = config.get(section)
        found = part.get(key) if isinstance(part, dict) else None
        if isinstance(found, list) and found and all(isinstance(one, int) and one >= 0 for one in found):
            return tuple(found)
    raise build_nemo_error("Its configuration does not name the durations that it predicts.")


def _read_vocabulary(part: Mapping[str, object], size: int | None) -> Sequence[object]:
    vocabulary = part.get("vocabulary")
    if not isinstance(vocabulary, list) or len(vocabulary) != (size or len(vocabulary)):
        raise build_nemo_error("Its configuration does not contain the vocabulary.")
    return vocabulary


def _read_section(config: Mapping[str, object], key: str) -> dict[str, object]:
    found = config.get(key)
    if not isinstance(found, dict):
        raise build_nemo_error(f"Its configuration has no section {key!r}.")
    return found


def _read_positive_integer(config: Mapping[str, object], key: str) -> int:
    found = config.get(key)
    if not isinstance(found, int) or found < 1:
        raise build_nemo_error(
            f"Its configuration sets {key} = {found!r}, which is not a whole number above 0."
        )
    return found


def _check_file(file: Path) -> None:
    with FolderCheck(build_nemo_error).require_file(file).open("rb") as opened:
        beginning = opened.read(len(_GZIP_MAGIC))
    if beginning == _GZIP_MAGIC:
        raise build_nemo_error(
            f"{file} is a compressed archive, as early versions of NeMo wrote: unpack it (tar -xzf) into a "
            "folder of its own, and name the folder."
        )


def _inspect_archive(file: Path) -> NemoModelFiles:
    try:
        with tarfile.open(file, "r:") as archive:
            files = {member.name for member in archive if member.isfile()}
    except tarfile.ReadError as failure:
        if tarfile.is_tarfile(file):
            raise _build_truncated_error(file) from failure
        raise build_nemo_error(f"{file} is not a .nemo file: it is not a tar archive.") from failure
    names = {
        part: name
        for name in files
        for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE)
        if name in {part, f"./{part}"}
    }
    for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE):
        if part not in names:
            raise build_nemo_error(f"{file} is not a .nemo file: it does not contain {part}.")
    return NemoModelFiles(file, names[NEMO_CONFIG_FILE], names[NEMO_WEIGHTS_FILE], is_archive=True)


def _build_truncated_error(file: Path) -> ModelUnavailable:
    return build_nemo_error(f"{file} is cut off: download it again.")
