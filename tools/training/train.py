"""Trains the model on endless windows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, IterableDataset

from tools.training.losses import Targets, compute_ctc_loss, compute_tdt_loss
from tools.training.network import FRAME, build_model
from tools.training.pieces import write_pieces
from tools.training.voices import SAMPLE_RATE, Synthesiser
from tools.training.windows import TrainingWindow, generate_windows

if TYPE_CHECKING:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel
    from torch import Tensor


#: A word may be said from this part of it on, and until so many seconds after its end.
_EARLIEST, _LATEST = 2 / 3, 0.4
_CTC_SHARE = 0.3
_WARM_UP = 300
_WEIGHT_DECAY = 1e-3
_LARGEST_GRADIENT = 1.0
_REPORT_EVERY = 50
_KEEP_EVERY = 250


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of the training.

    Attributes:
        steps: Batches in all.
        learning_rate: The largest learning rate.
        seconds: Audio in a batch, padding included.
        max_windows: Windows in a batch at most.
        seed: Everything random follows from it.
    """

    steps: int = 6_000
    learning_rate: float = 2e-3
    seconds: float = 56.0
    max_windows: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Windows of similar length: float32 (windows, samples), samples of each, and targets."""

    audio: Tensor
    sizes: Tensor
    targets: Targets


class _BatchStream(IterableDataset[TrainingBatch]):  # type: ignore[misc]  # torch is not there where types are checked
    def __init__(self, lesson: TrainingOptions, model: EncDecHybridRNNTCTCBPEModel, step: int) -> None:
        self._lesson, self._spell = lesson, model.tokenizer.text_to_ids
        self._seed = lesson.seed + 1_000_003 * step  # what follows a checkpoint is new

    def __iter__(self) -> Iterator[TrainingBatch]:
        torch.set_num_threads(1)
        windows = generate_windows(Synthesiser(), self._seed)
        chance = torch.Generator().manual_seed(self._seed)
        while True:
            drawn = sorted((next(windows) for _ in range(160)), key=lambda heard: len(heard.audio))
            batches = list(_split_batches(drawn, self._lesson))
            for place in torch.randperm(len(batches), generator=chance).tolist():
                yield _build_batch(batches[place], self._spell)


def _split_batches(
    drawn: Sequence[TrainingWindow], lesson: TrainingOptions
) -> Iterator[list[TrainingWindow]]:
    part: list[TrainingWindow] = []
    for heard in drawn:
        full = (len(part) + 1) * len(heard.audio) > lesson.seconds * SAMPLE_RATE
        if part and (full or len(part) == lesson.max_windows):
            yield part
            part = []
        part.append(heard)
    yield part


def _build_batch(part: Sequence[TrainingWindow], spell: Callable[[str], list[int]]) -> TrainingBatch:
    sizes = torch.tensor([len(heard.audio) for heard in part])
    audio = torch.zeros(len(part), int(sizes.max()))
    rows: list[list[tuple[int, int, int]]] = []
    for number, heard in enumerate(part):
        audio[number, : sizes[number]] = torch.from_numpy(heard.audio)
        final = len(heard.audio) // 160 // 8  # the encoder has this many frames and one more at most
        row = []
        for word in heard.words:
            soonest = word.start + _EARLIEST * (word.end - word.start)
            first = min(final - 1, int(soonest / FRAME)) if final else 0
            last = max(first, int((word.end + _LATEST * SAMPLE_RATE) / FRAME))
            row += [(token, max(0, first), last) for token in spell(word.text)]
        rows.append(row)
    most = max(1, *map(len, rows))
    table = torch.zeros(3, len(part), most, dtype=torch.long)
    for number, row in enumerate(rows):
        if row:
            table[:, number, : len(row)] = torch.tensor(row).T
    counts = torch.tensor([len(row) for row in rows])
    return TrainingBatch(audio, sizes, Targets(table[0], counts, table[1], table[2]))


def compute_losses(model: EncDecHybridRNNTCTCBPEModel, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Return the sums of the TDT and CTC losses of a batch."""
    with torch.no_grad():
        features, counts = model.preprocessor(input_signal=batch.audio, length=batch.sizes)
        features = model.spec_augmentation(input_spec=features, length=counts)
    encoded, lengths = model.encoder(audio_signal=features, length=counts)
    predicted, _, _ = model.decoder(targets=batch.targets.tokens, target_length=batch.targets.counts)
    transducer = compute_tdt_loss(
        model.joint.joint_net,
        model.joint.project_encoder(encoded.transpose(1, 2)),
        model.joint.project_prednet(predicted.transpose(1, 2)),
        lengths,
        batch.targets,
    )
    letters = compute_ctc_loss(model.ctc_decoder(encoder_output=encoded), lengths, batch.targets)
    return transducer.sum(), letters.sum()


def compute_learning_rate(step: int, lesson: TrainingOptions) -> float:
    """Return the learning rate: rising, then falling along a cosine."""
    done = max(0.0, (step - _WARM_UP) / max(1, lesson.steps - _WARM_UP))
    return (
        lesson.learning_rate
        * min(1, (step + 1) / _WARM_UP)
        * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    )


def train_model(folder: Path, lesson: TrainingOptions) -> None:
    """Train from nothing, or continue from the last ``checkpoint.pt`` in ``folder``."""
    torch.set_num_threads(1)
    if not (folder / "pieces" / "tokenizer.model").exists():
        write_pieces(folder / "pieces")
    model = build_model(folder / "pieces", lesson.seed).train()
    model.preprocessor.featurizer.dither = 0.0  # the windows bring noise of their own
    learner = torch.optim.AdamW(
        model.parameters(), lr=lesson.learning_rate, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY
    )
    step = _load_training_state(folder / "checkpoint.pt", model, learner)
    print(f"{sum(weights.numel() for weights in model.parameters()):,} weights, from step {step}", flush=True)
    batches = iter(
        DataLoader(_BatchStream(lesson, model, step), batch_size=None, num_workers=1, prefetch_factor=8)
    )
    began, seen = time.monotonic(), torch.zeros(3)
    while step < lesson.steps:
        batch = next(batches)
        seen += _train_step(model, learner, batch, compute_learning_rate(step, lesson))
        step += 1
        if step % _REPORT_EVERY == 0:
            transducer, letters, tokens = seen.tolist()
            minutes = (time.monotonic() - began) / 60
            print(
                f"step {step} tdt {transducer / tokens:.3f} ctc {letters / tokens:.3f} a token, "
                f"{minutes:.1f} min",
                flush=True,
            )
            seen = torch.zeros(3)
        if step % _KEEP_EVERY == 0 or step == lesson.steps:
            kept = {"step": step, "model": model.state_dict(), "learner": learner.state_dict()}
            torch.save(kept, folder / "checkpoint.new")
            (folder / "checkpoint.new").replace(folder / "checkpoint.pt")


def _load_training_state(
    file: Path, model: EncDecHybridRNNTCTCBPEModel, learner: torch.optim.Optimizer
) -> int:
    if not file.exists():
        return 0
    kept = torch.load(file)
    model.load_state_dict(kept["model"])
    learner.load_state_dict(kept["learner"])
    return int(kept["step"])


def _train_step(
    model: EncDecHybridRNNTCTCBPEModel, learner: torch.optim.Optimizer, batch: TrainingBatch, pace: float
) -> Tensor:
    transducer, letters = compute_losses(model, batch)
    tokens = max(1, int(batch.targets.counts.sum()))
    for group in learner.param_groups:
        group["lr"] = pace
    learner.zero_grad()
    ((transducer + _CTC_SHARE * letters) / (tokens + len(batch.sizes))).backward()
    size = torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
    if torch.isfinite(size):
        learner.step()
    return torch.tensor([float(transducer), float(letters), tokens])
