"""The folder of a Parakeet export: which files it must hold, and what is wrong with those that are there.

The layout is that of onnx-asr, which the published exports have: ``encoder-model[.Q].onnx`` and
``decoder_joint-model[.Q].onnx``, or ``model[.Q].onnx`` with a CTC head; ``vocab.txt``, ``config.json``. ``Q``
names a quantization. ``echoic models optimize`` adds an encoder and ``projection-model.Q.onnx``,
``prediction-model.Q.onnx`` and ``joint-model.Q.onnx``, which stand for the fused ``decoder_joint-model``,
and ``optimized.json``, which says what of them is to be taken (``parakeet_record``).
Source: https://github.com/istupakov/onnx-asr.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from echoic.engines.model_files import find_defect
from echoic.engines.optimize.manifest import MANIFEST_FILE, read_optimized_manifest
from echoic.errors import ModelUnavailable

#: A model's head.
HeadKind: TypeAlias = Literal["tdt", "rnnt", "ctc"]
ONNX_MODEL_ID = "parakeet-onnx"
#: The command that brings a model.
ONNX_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-onnx"
ENCODER_STEM, JOINT_STEM, CTC_STEM = "encoder-model", "decoder_joint-model", "model"
VOCABULARY_FILE, CONFIG_FILE = "vocab.txt", "config.json"
#: Quantizations of the encoder in the order in which they are taken if none is asked for: the fastest on
#: a CPU first. The empty one is full precision, which has no suffix.
ENCODER_QUANTIZATIONS = ("rowint8", "blockint8", "mmint8", "int8", "", "fp16")
#: The same for the networks that decode. Dynamic int8 comes first although it must be asked about one lane
#: at a time (see ``quantized_by_company``): that takes half the time of eight lanes in full precision.
JOINT_QUANTIZATIONS = ("int8", "", "fp16")
#: The parts of decoding networks that were cut, and how they may be quantized.
SPLIT_STEMS = ("projection-model", "prediction-model", "joint-model")
#: Forms that are made here, of the encoder and of networks that were cut.
OPTIMIZED_FORMS = ("rowint8", "blockint8")
#: Architectures that can be read, by the ``model_type`` of ``config.json``.
HEAD_KINDS: Mapping[str, HeadKind] = MappingProxyType(
    {"nemo-conformer-tdt": "tdt", "nemo-conformer-rnnt": "rnnt", "nemo-conformer-ctc": "ctc"}
)
BLANK_PIECE = "<blk>"
_MAX_BANDS = 512
_CONTROL_PIECE = re.compile(r"<unk>|<\|.*\|>")


@dataclass(frozen=True, slots=True)
class OnnxModelFiles:
    """A folder that was looked through.

    Attributes:
        encoder: The encoder's file; with ``ctc`` the head is in it too.
        joint: The file of the prediction network and the joint network; None with ``ctc``, or if they were
            cut.
        pieces: The vocabulary as text, a leading space where a word starts; the blank is not in it.
        kind: Its head: a transducer that says durations (``tdt``) or not (``rnnt``), or ``ctc``.
        bands: Mel bands that it wants.
        subsampling: Feature frames to one frame of the encoder.
        max_symbols: Tokens at one frame after which the next one is taken.
        split_joint: The files of the projection, the prediction network and the joint network if they were cut.
        outdated_reason: Why forms that were made here are left out: the originals are others now. Empty: they are
            not.
    """

    encoder: Path
    joint: Path | None
    pieces: tuple[str, ...]
    kind: HeadKind
    bands: int
    subsampling: int
    max_symbols: int
    split_joint: tuple[Path, Path, Path] | None = None
    outdated_reason: str = ""


@dataclass(frozen=True, slots=True)
class _OptimizedForms:
    """Which of the forms that were made here may be taken.

    Attributes:
        encoder: The encoder that was chosen; None: it goes by the order.
        networks: The networks that were chosen; None: those that are there.
        is_allowed: Whether any may be taken.
        outdated_reason: As in ``OnnxModelFiles``.
    """

    encoder: str | None = None
    networks: tuple[str, ...] | None = None
    is_allowed: bool = True
    outdated_reason: str = ""


def inspect_onnx_folder(
    folder: Path, quantization: str | None = None, *, use_optimized: bool = True
) -> OnnxModelFiles:
    """Return what is in a folder; nothing is loaded.

    Args:
        folder: In onnx-asr's layout.
        quantization: The encoder's: a suffix such as ``int8``, empty for full precision, None: what
            ``optimized.json`` says, or the first of ``ENCODER_QUANTIZATIONS`` that is there, or else any.
        use_optimized: Whether forms that were made here count. If what they were made of is not what is there now,
            they never do.

    Raises:
        ModelUnavailable: Something is missing or unusable: what, and what to do.
    """
    if not folder.is_dir():
        raise build_onnx_error(f"There is no folder {folder}.")
    kind, config = _read_config(folder)
    stem = CTC_STEM if kind == "ctc" else ENCODER_STEM
    ours = _read_optimized_forms(folder, stem) if use_optimized else _OptimizedForms(is_allowed=False)
    encoder = _select_encoder(folder, stem, quantization, ours)
    own = encoder.name.removeprefix(ENCODER_STEM).removesuffix(".onnx").removeprefix(".")
    cut = None if kind == "ctc" else _find_split_joint(folder, ours)
    joint = None if kind == "ctc" or cut else _select_joint(folder, own, ours)
    return OnnxModelFiles(
        encoder,
        joint,
        read_vocab_pieces(folder / VOCABULARY_FILE),
        kind,
        bands=_read_integer(config, "features_size", 80, _MAX_BANDS),
        subsampling=_read_integer(config, "subsampling_factor", 8, 64),
        max_symbols=_read_integer(config, "max_tokens_per_step", 10, 1_000),
        split_joint=cut,
        outdated_reason=ours.outdated_reason,
    )


def find_optimized_files(folder: Path, stem: str) -> list[Path]:
    """Return the graphs in a folder that bear the names of those that are made here.

    Args:
        folder: The model's.
        stem: What the encoder's name begins with.
    """
    names = (_build_file_name(part, form) for part in (stem, *SPLIT_STEMS) for form in OPTIMIZED_FORMS)
    return [folder / name for name in names if (folder / name).exists()]


def read_vocab_pieces(file: Path) -> tuple[str, ...]:
    """Return the vocabulary of ``vocab.txt``: a piece and its number in each line, the blank last.

    The mark of a word's start becomes a space; control pieces become empty.

    Raises:
        ModelUnavailable: It is missing, or is not that.
    """
    try:
        lines = _check_file(file).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise build_onnx_error(f"{file} is not UTF-8 text.") from None
    rows = [line.rpartition(" ") for line in lines if line]
    numbers = [int(number) if number.isdecimal() else -1 for _, _, number in rows]
    if not rows or numbers != list(range(len(rows))) or rows[-1][0] != BLANK_PIECE:
        raise build_onnx_error(
            f"{file} is not a vocabulary: each line is to hold a piece and its number, from 0 on, and the "
            f"last one {BLANK_PIECE}."
        )
    return tuple(render_piece(piece) for piece, _, _ in rows[:-1])


def render_piece(piece: str) -> str:
    """Return what a vocabulary's piece spells: a space where a word starts, nothing for control pieces."""
    return "" if _CONTROL_PIECE.fullmatch(piece) else piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")


def uses_dynamic_quantization(file: Path) -> bool:
    """Return whether a graph finds the scale of its activations anew in each call.

    Such a graph (the usual dynamic int8) takes one scale from everything in the call, so what it says of a
    window depends a little on the windows beside it.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"DynamicQuantize") >= 0


def build_onnx_error(reason: str) -> ModelUnavailable:
    """Return the refusal of a model with the command that brings a good one."""
    return ModelUnavailable(ONNX_MODEL_ID, reason, ONNX_DOWNLOAD_COMMAND)


def _read_config(folder: Path) -> tuple[HeadKind, dict[str, object]]:
    file = _check_file(folder / CONFIG_FILE)
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        raise build_onnx_error(f"{file} is not JSON.") from None
    if not isinstance(config, dict):
        raise build_onnx_error(f"{file} is not a JSON object.")
    kind = HEAD_KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise build_onnx_error(
            f"{file} names the architecture {config.get('model_type')!r}; only {', '.join(HEAD_KINDS)} are read."
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
        return _check_file(folder / _build_file_name(stem, quantization))
    for suffix in order:
        if (file := folder / _build_file_name(stem, suffix)).exists():
            return _check_file(file)
    made = {_build_file_name(stem, form) for form in OPTIMIZED_FORMS}
    others = sorted(file for file in folder.glob(f"{stem}.*.onnx") if file.name not in made)
    return _check_file(others[0] if others else folder / _build_file_name(stem, ""))


def _read_optimized_forms(folder: Path, stem: str) -> _OptimizedForms:
    record = read_optimized_manifest(folder)
    if record is None:
        return _OptimizedForms()
    fits = record.matches_folder(folder)
    gone = [name for name in (record.encoder, *record.networks) if not (folder / name).is_file()]
    if fits and not gone:
        return _OptimizedForms(record.encoder, record.networks)
    if not (left_out := find_optimized_files(folder, stem)):
        return _OptimizedForms()
    again = f"echoic models optimize {folder.name} --again"
    if not record.encoder:
        why = f"{folder / MANIFEST_FILE} cannot be read"
    elif fits:
        why = f"{', '.join(gone)} is missing, which was chosen"
    else:
        why = f"what they were made of ({', '.join(record.sources)}) is not what is there now"
    names = ", ".join(file.name for file in left_out)
    return _OptimizedForms(
        is_allowed=False, outdated_reason=f"{names} are left out: {why}. Make them anew: {again}"
    )


def _select_encoder(folder: Path, stem: str, quantization: str | None, optimized: _OptimizedForms) -> Path:
    if not optimized.is_allowed and quantization in OPTIMIZED_FORMS:
        raise build_onnx_error(
            optimized.outdated_reason or f"{_build_file_name(stem, quantization)} was made here."
        )
    if quantization is None and optimized.encoder is not None:
        return _check_file(folder / optimized.encoder)
    order = tuple(one for one in ENCODER_QUANTIZATIONS if optimized.is_allowed or one not in OPTIMIZED_FORMS)
    return _select_graph(folder, stem, order, quantization)


def _select_joint(folder: Path, encoder_quantization: str, optimized: _OptimizedForms) -> Path:
    if optimized.networks is not None and len(optimized.networks) == 1:
        return _check_file(folder / optimized.networks[0])
    return _select_graph(folder, JOINT_STEM, (*JOINT_QUANTIZATIONS, encoder_quantization), None)


def _find_split_joint(folder: Path, optimized: _OptimizedForms) -> tuple[Path, Path, Path] | None:
    """Return the parts of networks that were cut, if all of one quantization are there and may be taken."""
    for suffix in OPTIMIZED_FORMS if optimized.is_allowed else ():
        first, second, third = (folder / _build_file_name(stem, suffix) for stem in SPLIT_STEMS)
        wanted = optimized.networks is None or optimized.networks == (first.name, second.name, third.name)
        if wanted and first.is_file() and second.is_file() and third.is_file():
            return first, second, third
    return None


def _build_file_name(stem: str, quantization: str) -> str:
    return f"{stem}.{quantization}.onnx" if quantization else f"{stem}.onnx"


def _check_file(file: Path) -> Path:
    """Return ``file`` if there is something in it."""
    if reason := find_defect(file):
        raise build_onnx_error(reason)
    return file
