"""TDT and CTC losses for a CPU, restricted to alignments that emit each word when it ends.

Where each word sounds is known, so a token may be emitted only in the frames ``first`` to ``last`` of its
word. The lattice is then a narrow band: the joint network is asked about the few tokens that are possible at
a frame, and not about all.

Source: "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations" (Xu et al., 2023) for
TDT; "Alignment Restricted Streaming Recurrent Neural Network Transducer" (Mahadeokar et al., 2021) for the
band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from tools.training.network import DURATIONS

if TYPE_CHECKING:
    from torch import Tensor


_NEVER = -1e30
#: As good as never where sums run over many tokens and must keep their precision.
_BARELY = -40.0
#: How unlikely CTC's tokens are outside their frames, in logarithms: not never, for CTC needs a frame each.
_UNLIKELY = -12.0
#: Source: NeMo's and the paper's "logit under-normalisation", which makes long durations worthwhile.
_SIGMA = 0.02


@dataclass(frozen=True, slots=True)
class Targets:
    """The target tokens of a batch of windows.

    Attributes:
        tokens: int64, (windows, most tokens).
        counts: int64, (windows,).
        first: int64, (windows, most tokens): the first frame that may say a token.
        last: The last one.
    """

    tokens: Tensor
    counts: Tensor
    first: Tensor
    last: Tensor


@dataclass(frozen=True, slots=True)
class _LatticeBand:
    """The possible nodes: at each frame ``width`` counts of emitted tokens, from ``low`` on."""

    low: Tensor
    width: int

    def list_nodes(self) -> Tensor:
        """int64, (windows, frames, width)."""
        return self.low[:, :, None] + torch.arange(self.width)


def compute_tdt_loss(
    joint: Callable[[Tensor], Tensor],
    encoded: Tensor,
    predicted: Tensor,
    lengths: Tensor,
    targets: Targets,
) -> Tensor:
    """Return the loss of each window, (windows,).

    Args:
        joint: What makes logits (…, pieces + blank + durations) of the sum of both projections.
        encoded: The encoder's projection, (windows, frames, width).
        predicted: The prediction network's after 0, 1, … tokens, (windows, most tokens + 1, width).
        lengths: Frames of each window.
        targets: What they should say.
    """
    windows, frames, _ = encoded.shape
    most = targets.tokens.shape[1]
    band = _build_band(targets, frames)
    nodes = band.list_nodes().clamp(max=most)
    rows = torch.arange(windows)[:, None, None]
    logits = joint(encoded[:, :, None] + predicted[rows, nodes])
    said = functional.log_softmax(logits[..., : -len(DURATIONS)], -1) - _SIGMA
    held = functional.log_softmax(logits[..., -len(DURATIONS) :], -1)
    blank = said[..., -1:] + held
    token = nodes.clamp(max=max(0, most - 1))
    frame = torch.arange(frames)[None, :, None]
    spelled = said.gather(3, targets.tokens[rows, token][..., None]) + held
    allowed = (
        (nodes < targets.counts[:, None, None])
        & (frame >= targets.first[rows, token])
        & (frame <= targets.last[rows, token])
    )
    spelled = torch.where(allowed[..., None], spelled, _NEVER)
    inside = band.list_nodes() <= targets.counts[:, None, None]
    blank = torch.where(inside[..., None], blank, _NEVER)
    return _sum_paths(
        _spread_band(blank, nodes, most), _spread_band(spelled, nodes, most), lengths, targets.counts
    )


def _build_band(targets: Targets, frames: int) -> _LatticeBand:
    frame = torch.arange(frames)[None, :, None]
    real = torch.arange(targets.tokens.shape[1])[None, None, :] < targets.counts[:, None, None]
    low = (real & (targets.last[:, None, :] < frame)).sum(2)
    high = (real & (targets.first[:, None, :] <= frame)).sum(2)
    return _LatticeBand(low, int((high - low).max()) + 1)


def _spread_band(values: Tensor, nodes: Tensor, most: int) -> Tensor:
    """Return the band's values in the whole lattice, (frames, durations, windows, most tokens + 1)."""
    windows, frames, _, durations = values.shape
    whole = values.new_full((windows, frames, most + 2, durations), _NEVER)
    # Nodes beyond the last token are all put into one more column, which is cut off again.
    column = torch.where(torch.arange(nodes.shape[2]) + nodes[:, :, :1] > most, most + 1, nodes)
    whole = whole.scatter(2, column[..., None].expand_as(values), values)
    return whole[:, :, : most + 1].permute(1, 3, 0, 2).contiguous()


def _sum_paths(blank: Tensor, spelled: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    frames, _, windows, nodes = blank.shape
    start = blank.new_full((windows, nodes), _NEVER)
    start[:, 0] = 0
    reached: list[Tensor] = []
    for frame in range(frames):
        ways = [start] if frame == 0 else []
        for number, duration in enumerate(DURATIONS):
            if 0 < duration <= frame:
                before = reached[frame - duration]
                ways.append(before + blank[frame - duration, number])
                moved = before[:, :-1] + spelled[frame - duration, number, :, :-1]
                ways.append(functional.pad(moved, (1, 0), value=_NEVER))
        here = torch.logsumexp(torch.stack(ways), 0)
        reached.append(_add_zero_durations(here, spelled[frame, 0, :, :-1]))
    row = torch.arange(windows)
    ends = []
    table = torch.stack(reached)
    for number, duration in enumerate(DURATIONS):
        if duration:
            frame = (lengths - duration).clamp(min=0)
            way = table[frame, row, counts] + blank[frame, number, row, counts]
            ends.append(torch.where(lengths >= duration, way, _NEVER))
    return -torch.logsumexp(torch.stack(ends), 0)


def _add_zero_durations(here: Tensor, spelled: Tensor) -> Tensor:
    """Return the probability of each node if tokens of duration 0 may follow one another in a frame."""
    steps = functional.pad(torch.cumsum(spelled.clamp(min=_BARELY).double(), 1), (1, 0))
    return (torch.logcumsumexp(here.double() - steps, 1) + steps).float()


def compute_ctc_loss(said: Tensor, lengths: Tensor, targets: Targets) -> Tensor:
    """Return the loss of each window, (windows,).

    Args:
        said: Log-probabilities, (windows, frames, pieces + blank).
        lengths: Frames of each window.
        targets: What they should say.
    """
    frame = torch.arange(said.shape[1])[None, :, None]
    real = torch.arange(targets.tokens.shape[1])[None, None, :] < targets.counts[:, None, None]
    allowed = real & (frame >= targets.first[:, None]) & (frame <= targets.last[:, None])
    blank = said.shape[2] - 1
    penalty = torch.full_like(said, _UNLIKELY)
    penalty[:, :, blank] = 0
    free = torch.where(allowed, 0.0, _UNLIKELY)
    index = targets.tokens[:, None].expand_as(free)
    penalty = penalty.scatter_reduce(2, index, free, "amax")
    return functional.ctc_loss(
        (said + penalty).transpose(0, 1),
        targets.tokens,
        lengths,
        targets.counts,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
