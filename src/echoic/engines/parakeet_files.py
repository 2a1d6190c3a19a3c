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
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from echoic.engines.model_file import flaw
from echoic.engines.parakeet_record import RECORD, read_record
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A model's head.
Kind: TypeAlias = Literal["tdt", "rnnt", "ctc"]
NAME = "parakeet-onnx"
#: The command that brings a model.
INSTALL = "echoic models get parakeet-tdt-0.6b-v3-onnx"
ENCODER, JOINT, CTC = "encoder-model", "decoder_joint-model", "model"
VOCABULARY, CONFIG = "vocab.txt", "config.json"
#: Quantizations of the encoder in the order in which they are taken if none is asked for: the fastest on
#: a CPU first. The empty one is full precision, which has no suffix.
QUANTIZATIONS = ("rowint8", "blockint8", "mmint8", "int8", "", "fp16")
#: The same for the networks that decode. Dynamic int8 comes first although it must be asked about one lane
#: at a time (see ``quantized_by_company``): that takes half the time of eight lanes in full precision.
JOINT_QUANTIZATIONS = ("int8", "", "fp16")
#: The parts of decoding networks that were cut, and how they may be quantized.
CUT = ("projection-model", "prediction-model", "joint-model")
#: Forms that are made here, of the encoder and of networks that were cut.
MADE = ("rowint8", "blockint8")
#: Architectures that can be read, by the ``model_type`` of ``config.json``.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {"nemo-conformer-tdt": "tdt", "nemo-conformer-rnnt": "rnnt", "nemo-conformer-ctc": "ctc"}
)
BLANK = "<blk>"
_MANY_BANDS = 512
_CONTROL = re.compile(r"<unk>|<\|.*\|>")


@dataclass(frozen=True, slots=True)
class ModelFiles:
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
        cut: The files of the projection, the prediction network and the joint network if they were cut.
        outdated: Why forms that were made here are left out: the originals are others now. Empty: they are
            not.
    """

    encoder: Path
    joint: Path | None
    pieces: tuple[str, ...]
    kind: Kind
    bands: int
    subsampling: int
    max_symbols: int
    cut: tuple[Path, Path, Path] | None = None
    outdated: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    """Which of the forms that were made here may be taken.

    Attributes:
        encoder: The encoder that was chosen; None: it goes by the order.
        networks: The networks that were chosen; None: those that are there.
        allowed: Whether any may be taken.
        outdated: As in ``ModelFiles``.
    """

    encoder: str | None = None
    networks: tuple[str, ...] | None = None
    allowed: bool = True
    outdated: str = ""


def look_through(folder: Path, quantization: str | None = None, *, made: bool = True) -> ModelFiles:
    """Return what is in a folder; nothing is loaded.

    Args:
        folder: In onnx-asr's layout.
        quantization: The encoder's: a suffix such as ``int8``, empty for full precision, None: what
            ``optimized.json`` says, or the first of ``QUANTIZATIONS`` that is there, or else any.
        made: Whether forms that were made here count. If what they were made of is not what is there now,
            they never do.

    Raises:
        ModelUnavailable: Something is missing or unusable: what, and what to do.
    """
    if not folder.is_dir():
        raise unusable(f"There is no folder {folder}.")
    kind, config = _read_config(folder)
    stem = CTC if kind == "ctc" else ENCODER
    ours = _made(folder, stem) if made else _Made(allowed=False)
    encoder = _encoder(folder, stem, quantization, ours)
    own = encoder.name.removeprefix(ENCODER).removesuffix(".onnx").removeprefix(".")
    cut = None if kind == "ctc" else _cut(folder, ours)
    joint = None if kind == "ctc" or cut else _joint(folder, own, ours)
    return ModelFiles(
        encoder,
        joint,
        read_pieces(folder / VOCABULARY),
        kind,
        bands=_whole(config, "features_size", 80, _MANY_BANDS),
        subsampling=_whole(config, "subsampling_factor", 8, 64),
        max_symbols=_whole(config, "max_tokens_per_step", 10, 1_000),
        cut=cut,
        outdated=ours.outdated,
    )


def made_files(folder: Path, stem: str) -> list[Path]:
    """Return the graphs in a folder that bear the names of those that are made here.

    Args:
        folder: The model's.
        stem: What the encoder's name begins with.
    """
    names = (_file_name(part, form) for part in (stem, *CUT) for form in MADE)
    return [folder / name for name in names if (folder / name).exists()]


def read_pieces(file: Path) -> tuple[str, ...]:
    """Return the vocabulary of ``vocab.txt``: a piece and its number in each line, the blank last.

    The mark of a word's start becomes a space; control pieces become empty.

    Raises:
        ModelUnavailable: It is missing, or is not that.
    """
    try:
        lines = _present(file).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise unusable(f"{file} is not UTF-8 text.") from None
    rows = [line.rpartition(" ") for line in lines if line]
    numbers = [int(number) if number.isdecimal() else -1 for _, _, number in rows]
    if not rows or numbers != list(range(len(rows))) or rows[-1][0] != BLANK:
        raise unusable(
            f"{file} is not a vocabulary: each line is to hold a piece and its number, from 0 on, and the "
            f"last one {BLANK}."
        )
    return tuple(piece_text(piece) for piece, _, _ in rows[:-1])


def piece_text(piece: str) -> str:
    """Return what a vocabulary's piece spells: a space where a word starts, nothing for control pieces."""
    return "" if _CONTROL.fullmatch(piece) else piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ")


def quantized_by_company(file: Path) -> bool:
    """Return whether a graph finds the scale of its activations anew in each call.

    Such a graph (the usual dynamic int8) takes one scale from everything in the call, so what it says of a
    window depends a little on the windows beside it.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"DynamicQuantize") >= 0


def unusable(reason: str) -> ModelUnavailable:
    """Return the refusal of a model with the command that brings a good one."""
    return ModelUnavailable(NAME, reason, INSTALL)


def _read_config(folder: Path) -> tuple[Kind, dict[str, object]]:
    file = _present(folder / CONFIG)
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        raise unusable(f"{file} is not JSON.") from None
    if not isinstance(config, dict):
        raise unusable(f"{file} is not a JSON object.")
    kind = KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise unusable(
            f"{file} names the architecture {config.get('model_type')!r}; only {', '.join(KINDS)} are read."
        )
    return kind, config


def _whole(config: dict[str, object], key: str, usual: int, most: int) -> int:
    value = config.get(key, usual)
    if not isinstance(value, int) or not 1 <= value <= most:
        raise unusable(f"{CONFIG} says {key} = {value!r}, which is not a whole number from 1 to {most}.")
    return value


def _chosen(folder: Path, stem: str, order: tuple[str, ...], quantization: str | None) -> Path:
    if quantization is not None:
        return _present(folder / _file_name(stem, quantization))
    for suffix in order:
        if (file := folder / _file_name(stem, suffix)).exists():
            return _present(file)
    made = {_file_name(stem, form) for form in MADE}
    others = sorted(file for file in folder.glob(f"{stem}.*.onnx") if file.name not in made)
    return _present(others[0] if others else folder / _file_name(stem, ""))


def _made(folder: Path, stem: str) -> _Made:
    record = read_record(folder)
    if record is None:
        return _Made()
    fits = record.fits(folder)
    gone = [name for name in (record.encoder, *record.networks) if not (folder / name).is_file()]
    if fits and not gone:
        return _Made(record.encoder, record.networks)
    if not (left_out := made_files(folder, stem)):
        return _Made()
    again = f"echoic models optimize {folder.name} --again"
    if not record.encoder:
        why = f"{folder / RECORD} cannot be read"
    elif fits:
        why = f"{', '.join(gone)} is missing, which was chosen"
    else:
        why = f"what they were made of ({', '.join(record.sources)}) is not what is there now"
    names = ", ".join(file.name for file in left_out)
    return _Made(allowed=False, outdated=f"{names} are left out: {why}. Make them anew: {again}")


def _encoder(folder: Path, stem: str, quantization: str | None, ours: _Made) -> Path:
    if not ours.allowed and quantization in MADE:
        raise unusable(ours.outdated or f"{_file_name(stem, quantization)} was made here.")
    if quantization is None and ours.encoder is not None:
        return _present(folder / ours.encoder)
    order = tuple(one for one in QUANTIZATIONS if ours.allowed or one not in MADE)
    return _chosen(folder, stem, order, quantization)


def _joint(folder: Path, own: str, ours: _Made) -> Path:
    if ours.networks is not None and len(ours.networks) == 1:
        return _present(folder / ours.networks[0])
    return _chosen(folder, JOINT, (*JOINT_QUANTIZATIONS, own), None)


def _cut(folder: Path, ours: _Made) -> tuple[Path, Path, Path] | None:
    """Return the parts of networks that were cut, if all of one quantization are there and may be taken."""
    for suffix in MADE if ours.allowed else ():
        first, second, third = (folder / _file_name(stem, suffix) for stem in CUT)
        wanted = ours.networks is None or ours.networks == (first.name, second.name, third.name)
        if wanted and first.is_file() and second.is_file() and third.is_file():
            return first, second, third
    return None


def _file_name(stem: str, quantization: str) -> str:
    return f"{stem}.{quantization}.onnx" if quantization else f"{stem}.onnx"


def _present(file: Path) -> Path:
    """Return ``file`` if there is something in it."""
    if reason := flaw(file):
        raise unusable(reason)
    return file
