"""Selects and checks the files in a folder of Parakeet's ONNX export.

The layout is that of onnx-asr, which the published exports have: ``encoder-model[.Q].onnx`` and
``decoder_joint-model[.Q].onnx``, or ``model[.Q].onnx`` with a CTC head; ``vocab.txt``, ``config.json``. ``Q``
names a quantization. ``echoic models optimize`` adds an encoder, the three parts of a split
``decoder_joint-model`` (``projection-model.Q.onnx``, ``prediction-model.Q.onnx``, ``joint-model.Q.onnx``),
and ``optimized.json``, which names the files to use (``optimize.manifest``).
Source: https://github.com/istupakov/onnx-asr.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from echoic.engines.model_files import FolderCheck
from echoic.engines.optimize.manifest import MANIFEST_FILE, read_optimized_manifest
from echoic.errors import ModelUnavailable

#: The head of a model: a transducer with durations (``tdt``) or without (``rnnt``), or ``ctc``.
HeadKind: TypeAlias = Literal["tdt", "rnnt", "ctc"]
ONNX_MODEL_ID = "parakeet-onnx"
#: The command that downloads a model.
ONNX_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-onnx"
ENCODER_STEM, JOINT_STEM, CTC_STEM = "encoder-model", "decoder_joint-model", "model"
VOCABULARY_FILE, CONFIG_FILE = "vocab.txt", "config.json"
#: Quantizations of the encoder in order of preference: the fastest on a CPU first. The empty one is full
#: precision, which has no suffix.
ENCODER_QUANTIZATIONS = ("rowint8", "blockint8", "mmint8", "int8", "", "fp16")
#: Quantizations of the decoding networks in order of preference. Dynamic int8 comes first although it cannot
#: be batched (see ``uses_dynamic_quantization``): one lane at a time takes half the time of eight lanes in
#: full precision.
JOINT_QUANTIZATIONS = ("int8", "", "fp16")
#: The parts of a split decoder_joint-model.
SPLIT_STEMS = ("projection-model", "prediction-model", "joint-model")
#: Quantizations that ``echoic models optimize`` makes, of the encoder and of the split decoding networks.
OPTIMIZED_FORMS = ("rowint8", "blockint8")
#: Supported architectures: the head by ``model_type`` in ``config.json``.
HEAD_KINDS: Mapping[str, HeadKind] = MappingProxyType(
    {"nemo-conformer-tdt": "tdt", "nemo-conformer-rnnt": "rnnt", "nemo-conformer-ctc": "ctc"}
)
BLANK_PIECE = "<blk>"
_MAX_BANDS = 512
_CONTROL_PIECE = re.compile(r"<unk>|<\|.*\|>")


@dataclass(frozen=True, slots=True)
class OnnxModelFiles:
    """The files of a model and its dimensions."""

    #: The encoder; a CTC export includes its head.
    encoder: Path
    #: The fused prediction and joint network; None with ``ctc``, or if ``split_joint`` is used.
    joint: Path | None
    #: The vocabulary as text, a leading space at the start of a word; without the blank.
    pieces: tuple[str, ...]
    #: The head.
    kind: HeadKind
    #: Mel bands of the features.
    bands: int
    #: Feature frames per encoder frame.
    subsampling: int
    #: The most tokens at one encoder frame.
    max_symbols: int
    #: The projection, the prediction network and the joint network, if they are split.
    split_joint: tuple[Path, Path, Path] | None = None
    #: Why optimized files are ignored (the original files have changed), or empty if none are ignored.
    outdated_reason: str = ""


@dataclass(frozen=True, slots=True)
class _OptimizedForms:
    """The optimized files that may be used."""

    #: The chosen encoder. None means the first by ``ENCODER_QUANTIZATIONS``.
    encoder: str | None = None
    #: The chosen decoding networks. None means the ones in the folder.
    networks: tuple[str, ...] | None = None
    #: Whether any optimized file may be used.
    is_allowed: bool = True
    #: As in ``OnnxModelFiles``.
    outdated_reason: str = ""


def inspect_onnx_folder(
    folder: Path, quantization: str | None = None, *, use_optimized: bool = True
) -> OnnxModelFiles:
    """Return the files of the model in a folder; loads nothing.

    Args:
        folder: In onnx-asr's layout.
        quantization: Quantization of the encoder: a suffix such as ``int8``, empty for full precision; None:
            the one in ``optimized.json``, else the first of ``ENCODER_QUANTIZATIONS``, else any.
        use_optimized: Whether optimized files may be used; they never are if the original files have changed.

    Raises:
        ModelUnavailable: A file is missing or unusable.
    """
    _check.require_folder(folder)
    kind, config = _read_config(folder)
    stem = CTC_STEM if kind == "ctc" else ENCODER_STEM
    optimized = _read_optimized_forms(folder, stem) if use_optimized else _OptimizedForms(is_allowed=False)
    encoder = _select_encoder(folder, stem, quantization, optimized)
    suffix = encoder.name.removeprefix(ENCODER_STEM).removesuffix(".onnx").removeprefix(".")
    split_joint = None if kind == "ctc" else _find_split_joint(folder, optimized)
    joint = None if kind == "ctc" or split_joint else _select_joint(folder, suffix, optimized)
    return OnnxModelFiles(
        encoder,
        joint,
        read_vocab_pieces(folder / VOCABULARY_FILE),
        kind,
        bands=_read_integer(config, "features_size", 80, _MAX_BANDS),
        subsampling=_read_integer(config, "subsampling_factor", 8, 64),
        max_symbols=_read_integer(config, "max_tokens_per_step", 10, 1_000),
        split_joint=split_joint,
        outdated_reason=optimized.outdated_reason,
    )


def find_optimized_files(folder: Path, stem: str) -> list[Path]:
    """Return the optimized graphs in a folder, by their names.

    Args:
        folder: The folder of the model.
        stem: The stem of the encoder's file name.
    """
    names = (_build_file_name(part, form) for part in (stem, *SPLIT_STEMS) for form in OPTIMIZED_FORMS)
    return [folder / name for name in names if (folder / name).exists()]


def read_vocab_pieces(file: Path) -> tuple[str, ...]:
    """Return the vocabulary of ``vocab.txt`` as text (see ``render_piece``), without the blank.

    Each line holds a piece and its number; the blank is last.

    Raises:
        ModelUnavailable: The file is missing or malformed.
    """
    try:
        lines = _check.require_file(file).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise build_onnx_error(f"{file} is not UTF-8 text.") from None
    rows = [line.rpartition(" ") for line in lines if line]
    numbers = [int(number) if number.isdecimal() else -1 for _, _, number in rows]
    if not rows or numbers != list(range(len(rows))) or rows[-1][0] != BLANK_PIECE:
        raise build_onnx_error(
            f"{file} is not a vocabulary: each line must hold a piece and its number, counted from 0, and "
            f"the last piece must be {BLANK_PIECE}."
        )
    return tuple(render_piece(piece) for piece, _, _ in rows[:-1])


def render_piece(piece: str) -> str:
    """Return the text of a vocabulary piece: a space at the start of a word, empty for control pieces."""
    return "" if _CONTROL_PIECE.fullmatch(piece) else piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")


def uses_dynamic_quantization(file: Path) -> bool:
    """Return whether a graph uses dynamic quantization of its activations.

    Such a graph (the usual dynamic int8) computes one scale for the whole call, so the output for a window
    depends slightly on the other windows in the batch.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"DynamicQuantize") >= 0


def build_onnx_error(reason: str) -> ModelUnavailable:
    """Return the error for a model that cannot be used, with the command that downloads a good one."""
    return ModelUnavailable(ONNX_MODEL_ID, reason, ONNX_DOWNLOAD_COMMAND)


_check = FolderCheck(build_onnx_error)


def _read_config(folder: Path) -> tuple[HeadKind, dict[str, object]]:
    file = folder / CONFIG_FILE
    config = _check.read_json(file)
    kind = HEAD_KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise build_onnx_error(
            f"{file} names the architecture {config.get('model_type')!r}. "
            f"Supported are {', '.join(HEAD_KINDS)}."
        )
    return kind, config


def _read_integer(config: dict[str, object], key: str, default: int, maximum: int) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or not 1 <= value <= maximum:
        raise build_onnx_error(
            f"{CONFIG_FILE} says {key} = {value!r}, which is not a whole number from 1 to {maximum}."
        )
    return value


def _select_graph(folder: Path, stem: str, order: tuple[str, ...], quantization: str | None) -> Path:
    if quantization is not None:
        return _check.require_file(folder / _build_file_name(stem, quantization))
    for suffix in order:
        if (file := folder / _build_file_name(stem, suffix)).exists():
            return _check.require_file(file)
    optimized = {_build_file_name(stem, form) for form in OPTIMIZED_FORMS}
    others = sorted(file for file in folder.glob(f"{stem}.*.onnx") if file.name not in optimized)
    return _check.require_file(others[0] if others else folder / _build_file_name(stem, ""))


def _read_optimized_forms(folder: Path, stem: str) -> _OptimizedForms:
    manifest = read_optimized_manifest(folder)
    if manifest is None:
        return _OptimizedForms()
    is_current = manifest.matches_folder(folder)
    missing = [name for name in (manifest.encoder, *manifest.networks) if not (folder / name).is_file()]
    if is_current and not missing:
        return _OptimizedForms(manifest.encoder, manifest.networks)
    if not (ignored := find_optimized_files(folder, stem)):
        return _OptimizedForms()
    if not manifest.encoder:
        cause = f"{folder / MANIFEST_FILE} cannot be read"
    elif is_current:
        cause = f"the chosen {', '.join(missing)} is missing"
    else:
        cause = f"their originals ({', '.join(manifest.sources)}) have changed"
    names = ", ".join(file.name for file in ignored)
    return _OptimizedForms(
        is_allowed=False,
        outdated_reason=f"Ignored {names}: {cause}. "
        f"Make them again: echoic models optimize {folder.name} --again",
    )


def _select_encoder(folder: Path, stem: str, quantization: str | None, optimized: _OptimizedForms) -> Path:
    if not optimized.is_allowed and quantization in OPTIMIZED_FORMS:
        raise build_onnx_error(
            optimized.outdated_reason or f"{_build_file_name(stem, quantization)} is an optimized file."
        )
    if quantization is None and optimized.encoder is not None:
        return _check.require_file(folder / optimized.encoder)
    order = tuple(one for one in ENCODER_QUANTIZATIONS if optimized.is_allowed or one not in OPTIMIZED_FORMS)
    return _select_graph(folder, stem, order, quantization)


def _select_joint(folder: Path, encoder_quantization: str, optimized: _OptimizedForms) -> Path:
    if optimized.networks is not None and len(optimized.networks) == 1:
        return _check.require_file(folder / optimized.networks[0])
    return _select_graph(folder, JOINT_STEM, (*JOINT_QUANTIZATIONS, encoder_quantization), None)


def _find_split_joint(folder: Path, optimized: _OptimizedForms) -> tuple[Path, Path, Path] | None:
    """Return the parts of a split joint if all of one quantization exist and may be used."""
    for suffix in OPTIMIZED_FORMS if optimized.is_allowed else ():
        first, second, third = (folder / _build_file_name(stem, suffix) for stem in SPLIT_STEMS)
        chosen = optimized.networks is None or optimized.networks == (first.name, second.name, third.name)
        if chosen and first.is_file() and second.is_file() and third.is_file():
            return first, second, third
    return None


def _build_file_name(stem: str, quantization: str) -> str:
    return f"{stem}.{quantization}.onnx" if quantization else f"{stem}.onnx"
