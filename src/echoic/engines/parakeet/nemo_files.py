"""A model of NVIDIA NeMo on the disk: where its parts lie, and what its configuration says it is.

A ``.nemo`` file is an uncompressed tar archive of ``model_config.yaml``, ``model_weights.ckpt`` and the
tokenizer's files; the same files may lie in a folder. The vocabulary stands in the configuration, so the
tokenizer is not read. Nothing here imports NeMo or torch.
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

from echoic.engines.model_files import find_defect
from echoic.engines.parakeet.features import HOP_SAMPLES, SAMPLE_RATE, WINDOW_SAMPLES
from echoic.engines.parakeet.onnx_files import HeadKind, render_piece
from echoic.errors import ModelUnavailable

NEMO_MODEL_ID = "parakeet-standard"
#: The commands that bring the libraries, and a model.
NEMO_INSTALL_COMMAND = "pip install 'echoic[nemo]'"
NEMO_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-nemo"
NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE = "model_config.yaml", "model_weights.ckpt"
#: What can be read, by the last part of the configuration's ``target``: which heads it has.
TARGET_HEADS: Mapping[str, tuple[Literal["transducer", "ctc"], ...]] = MappingProxyType(
    {
        "EncDecRNNTBPEModel": ("transducer",),
        "EncDecHybridRNNTCTCBPEModel": ("transducer", "ctc"),
        "EncDecCTCModelBPE": ("ctc",),
    }
)
#: What the features must be, by the key of the configuration's ``preprocessor``; left out means the same.
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
#: Tokens at one frame where the configuration leaves it open. Source: NeMo's published configurations.
DEFAULT_MAX_SYMBOLS = 10
_GZIP_MAGIC = b"\x1f\x8b"

DecodingHead = Literal["transducer", "ctc"]


@dataclass(frozen=True, slots=True)
class NemoModelFiles:
    """Where a model's parts lie.

    Attributes:
        path: The archive, or the folder.
        config: The name in it of the configuration.
        weights: The same of the weights.
        is_archive: True if ``path`` is an archive.
    """

    path: Path
    config: str
    weights: str
    is_archive: bool

    @contextmanager
    def open_part(self, part: str) -> Iterator[IO[bytes]]:
        """Open one of the parts, seekable.

        Raises:
            ModelUnavailable: The archive is cut off.
        """
        if not self.is_archive:
            with (self.path / part).open("rb") as opened:
                yield opened
            return
        try:
            with tarfile.open(self.path, "r:") as archive:
                member = archive.extractfile(part)
                assert member is not None  # noqa: S101  # ``look_at`` saw that it is a file
                yield member
        except tarfile.ReadError as failure:
            raise _build_truncated_error(self.path) from failure


@dataclass(frozen=True, slots=True)
class ParakeetArchitecture:
    """What a configuration says.

    Attributes:
        kind: Its head, or of two the one that is to be used.
        pieces: The vocabulary as text, a leading space where a word starts; the blank is not in it.
        durations: Frames that each duration means; none where it says nothing of durations.
        bands: Mel bands that it wants.
        subsampling: Feature frames to one frame of the encoder.
        max_symbols: Tokens at one frame after which the next one is taken.
        module_configs: By the prefix of their weights the modules to build, with their arguments.
    """

    kind: HeadKind
    pieces: tuple[str, ...]
    durations: tuple[int, ...]
    bands: int
    subsampling: int
    max_symbols: int
    module_configs: Mapping[str, Mapping[str, object]]


def inspect_nemo_model(model: Path) -> NemoModelFiles:
    """Return where the parts of a model lie; no weights are read.

    Args:
        model: A ``.nemo`` file, a folder with one in it, or a folder of its unpacked files.

    Raises:
        ModelUnavailable: Something is missing or unusable: what, and what to do.
    """
    if model.is_dir():
        if (model / NEMO_CONFIG_FILE).exists():
            for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE):
                _check_file(model / part)
            return NemoModelFiles(model, NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE, is_archive=False)
        files = sorted(model.glob("*.nemo"))
        if len(files) != 1:
            many = (
                f"{len(files)} .nemo files; name one of them"
                if files
                else f"no .nemo file and no {NEMO_CONFIG_FILE}"
            )
            raise build_nemo_error(f"The folder {model} holds {many}.")
        (model,) = files
    _check_file(model)
    return _inspect_archive(model)


def read_architecture(config: Mapping[str, object], head: DecodingHead | None = None) -> ParakeetArchitecture:
    """Return what a configuration says.

    Args:
        config: What stands in ``model_config.yaml``, resolved.
        head: The head to use of a hybrid; None: the transducer, where there is one.

    Raises:
        ModelUnavailable: It is not a Parakeet's, or not one that can be read: which, and why.
    """
    target = str(config.get("target", "nothing")).rpartition(".")[2]
    heads = TARGET_HEADS.get(target)
    if heads is None:
        raise build_nemo_error(
            f"It is a {target} of NeMo's; those that can be read are {', '.join(TARGET_HEADS)}."
        )
    chosen = head or heads[0]
    if chosen not in heads:
        raise build_nemo_error(f"It is a {target}, which has no {chosen} head.")
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
    """Return the refusal of a model with the command that brings a good one, or what else would help."""
    return ModelUnavailable(NEMO_MODEL_ID, reason, install)


_DecoderShape = tuple[
    "HeadKind", tuple[int, ...], "Sequence[object]", int, "Mapping[str, Mapping[str, object]]"
]  # kind, durations, vocabulary, max_symbols, parts


def _read_transducer(config: Mapping[str, object]) -> _DecoderShape:
    decoder, joint = _read_section(config, "decoder"), _read_section(config, "joint")
    for part, wanted in ((decoder, "RNNTDecoder"), (joint, "RNNTJoint")):
        _check_target(part, wanted)
    extra = joint.get("num_extra_outputs", 0) or 0
    durations = _read_durations(config) if extra else ()
    if len(durations) != extra:
        raise build_nemo_error(f"Its joint network says {extra} durations, but {list(durations)} are named.")
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
                f"Its features are made otherwise: {key} is {found[key]!r} and not {wanted!r}"
                + (" (a model for cache-aware streaming)." if found.get("normalize") == "NA" else ".")
            )


def _check_encoder(found: Mapping[str, object]) -> Mapping[str, object]:
    _check_target(found, "ConformerEncoder")
    style = found.get("att_context_style", "regular")
    if style != "regular" or found.get("causal_downsampling"):
        raise build_nemo_error(
            f"Its encoder is for cache-aware streaming (att_context_style {style!r}), which is not read yet."
        )
    if found.get("reduction"):
        raise build_nemo_error("Its encoder reduces frames a second time, as no Parakeet does.")
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
    raise build_nemo_error("Its configuration does not name the durations that it says.")


def _read_vocabulary(part: Mapping[str, object], size: int | None) -> Sequence[object]:
    vocabulary = part.get("vocabulary")
    if not isinstance(vocabulary, list) or len(vocabulary) != (size or len(vocabulary)):
        raise build_nemo_error("Its configuration does not hold the vocabulary.")
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
            f"Its configuration says {key} = {found!r}, which is not a whole number above 0."
        )
    return found


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise build_nemo_error(f"There is no file {file}.")
    if reason := find_defect(file):
        raise build_nemo_error(reason)
    with file.open("rb") as opened:
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
        raise build_nemo_error(f"{file} is not a .nemo file: those are tar archives.") from failure
    names = {
        part: name
        for name in files
        for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE)
        if name in {part, f"./{part}"}
    }
    for part in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE):
        if part not in names:
            raise build_nemo_error(f"{file} is not a .nemo file: there is no {part} in it.")
    return NemoModelFiles(file, names[NEMO_CONFIG_FILE], names[NEMO_WEIGHTS_FILE], is_archive=True)


def _build_truncated_error(file: Path) -> ModelUnavailable:
    return build_nemo_error(f"{file} is cut off: fetch it again.")
