"""Compares the training losses with NeMo's and with sums over alignments; tests words of windows."""

from __future__ import annotations

import math
import random
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

import torch

from support.nemo_reference import suppress_warnings
from tools.training.losses import Targets, compute_ctc_loss, compute_tdt_loss
from tools.training.network import DURATIONS
from tools.training.windows import PlacedWord, TrainingWindow, cut_window

WINDOWS, FRAMES, TOKENS, PIECES, WIDTH = 3, 17, 6, 20, 8
LENGTHS, COUNTS = torch.tensor([17, 12, 9]), torch.tensor([6, 4, 5])
SIGMA = 0.02


class RandomLattice:
    """Random projections, and a layer that turns them into logits."""

    def __init__(self, first: list[list[int]] | None = None, span: int = 99) -> None:
        draw = torch.Generator().manual_seed(7)
        self.weight = torch.randn(PIECES + 1 + len(DURATIONS), WIDTH, generator=draw)
        self.encoded = torch.randn(WINDOWS, FRAMES, WIDTH, generator=draw, requires_grad=True)
        self.predicted = torch.randn(WINDOWS, TOKENS + 1, WIDTH, generator=draw, requires_grad=True)
        tokens = torch.randint(0, PIECES, (WINDOWS, TOKENS), generator=draw)
        soonest = torch.tensor(first) if first else torch.zeros(WINDOWS, TOKENS, dtype=torch.long)
        self.targets = Targets(tokens, COUNTS, soonest, soonest + span)

    def joint(self, summed: torch.Tensor) -> torch.Tensor:
        return summed @ self.weight.T

    def loss(self) -> torch.Tensor:
        return compute_tdt_loss(self.joint, self.encoded, self.predicted, LENGTHS, self.targets)

    def gradients(self, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.autograd.grad(loss.sum(), [self.encoded, self.predicted]))

    @suppress_warnings
    def compute_nemo_loss(self, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
        from nemo.collections.asr.losses.rnnt_pytorch import TDTLossPytorch  # noqa: PLC0415  # so that its warnings are suppressed

        monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, *_: tensor)  # NeMo moves its tensors to CUDA
        theirs = TDTLossPytorch(blank=PIECES, durations=list(DURATIONS), reduction="none", sigma=SIGMA)
        logits = self.joint(self.encoded[:, :, None] + self.predicted[:, None])
        return theirs(logits, self.targets.tokens, LENGTHS, COUNTS)

    def sum_alignments(self, window: int) -> float:
        logits = self.joint(self.encoded[window, :, None] + self.predicted[window][None]).detach()
        log_probs = logits[..., : -len(DURATIONS)].log_softmax(-1) - SIGMA
        duration_log_probs = logits[..., -len(DURATIONS) :].log_softmax(-1)
        frames, count = int(LENGTHS[window]), int(COUNTS[window])
        tokens, first, last = (
            row[window].tolist() for row in (self.targets.tokens, self.targets.first, self.targets.last)
        )

        @cache
        def sum_from(frame: int, done: int) -> float:
            if frame >= frames:
                return 0.0 if (frame, done) == (frames, count) else -math.inf
            costs = []
            for duration in DURATIONS:
                hold = float(duration_log_probs[frame, done, duration])
                if duration:
                    costs.append(
                        float(log_probs[frame, done, PIECES]) + hold + sum_from(frame + duration, done)
                    )
                if done < count and first[done] <= frame <= last[done] and frame + duration < frames:
                    emit = float(log_probs[frame, done, tokens[done]])
                    costs.append(emit + hold + sum_from(frame + duration, done + 1))
            return float(np.logaddexp.reduce(costs))

        return -sum_from(0, 0)


def test_loss_and_gradient_over_all_alignments_equal_nemos(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice = RandomLattice()
    ours, theirs = lattice.loss(), lattice.compute_nemo_loss(monkeypatch)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    for mine, other in zip(lattice.gradients(ours), lattice.gradients(theirs), strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


def test_the_loss_of_a_band_sums_over_its_alignments() -> None:
    first = [[2, 2, 5, 7, 7, 12], [1, 3, 3, 8, 0, 0], [0, 2, 4, 6, 7, 0]]
    lattice = RandomLattice(first, span=3)
    expected = [lattice.sum_alignments(window) for window in range(WINDOWS)]
    assert lattice.loss().tolist() == pytest.approx(expected, rel=1e-5)


def test_ctc_loss_is_higher_where_tokens_must_come_late() -> None:
    log_probs = torch.randn(
        WINDOWS, FRAMES, PIECES + 1, generator=torch.Generator().manual_seed(1)
    ).log_softmax(-1)
    free = compute_ctc_loss(log_probs, LENGTHS, RandomLattice().targets)
    late = compute_ctc_loss(log_probs, LENGTHS, RandomLattice([[3] * TOKENS] * WINDOWS).targets)
    assert bool((late >= free).all())
    assert torch.isfinite(late).all()


def test_the_words_of_a_window_lie_inside_it() -> None:
    words = tuple(PlacedWord(str(number), 1_000 * number + 100, 1_000 * number + 900) for number in range(40))
    source = TrainingWindow(np.arange(41_000, dtype=np.float32), words)
    rng = random.Random(3)  # noqa: S311  # a test's choices
    for _ in range(200):
        window = cut_window(source, 7_777, rng)
        begin = int(window.audio[0])
        assert len(window.audio) == 7_777
        inside = [one for one in words if one.start + 96 >= begin and one.end <= begin + 7_777]
        assert [one.text for one in window.words] == [one.text for one in inside]
        assert all(one.start == begin + word.start for one, word in zip(inside, window.words, strict=True))
