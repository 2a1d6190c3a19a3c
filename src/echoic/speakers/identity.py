"""Which groups are one speaker, and which speaker that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from echoic.speakers.cluster import link
from echoic.speakers.memory import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from echoic.speakers.memory import Groups, Memory


@dataclass(frozen=True, slots=True)
class SpeakerRules:
    """When voices are one and when somebody is new; measured on recordings, docs/decisions/0020.

    Attributes:
        alike: The mean cosine from which windows are of one speaker.
        margin: Added to it when a new speaker is weighed.
        evidence: What makes a speaker new: seconds heard times how much the likeness to everyone known falls
            short of ``alike + margin``.
        caution: Seconds of speech after which twice as much is wanted, and so on: the more was heard, the
            more there is that only seems new.
        most_cautious: The most times as much.
        switch: The price of a change of speakers from slot to slot, in cosines.
    """

    alike: float = 0.34
    margin: float = 0.05
    evidence: float = 0.25
    caution: float = 60.0
    most_cautious: float = 3.0
    switch: float = 0.1


def named(memory: Memory, rules: SpeakerRules) -> Memory:
    """Return the memory with its groups clustered anew and their speakers named, new ones if need be."""
    groups = memory.groups
    labels = _linked(groups, _most(memory), rules)
    ids = _carried_over(labels, groups)
    known = memory.known
    for cluster in _by_weight(labels, groups.seconds):
        if ids[cluster] == NOBODY and _is_new(cluster, labels, ids, groups, rules):
            if known >= _most(memory):
                continue
            ids[cluster], known = known, known + 1
    return replace(memory, groups=groups.said_by(ids[labels]), known=known)


def settled(memory: Memory, rules: SpeakerRules) -> NDArray[np.intp]:
    """Return the speaker of each group after all that was heard; nobody is ``NOBODY``."""
    groups = memory.groups
    labels = _linked(groups, _most(memory), rules)
    ids = _carried_over(labels, groups)
    for cluster in reversed(_by_weight(labels, groups.seconds)):
        known, ids[cluster] = ids[cluster], NOBODY
        if _is_new(cluster, labels, ids, groups, rules):
            ids[cluster] = known
    found = ids[labels]
    if (found == NOBODY).any():
        sure = np.unique(found[found != NOBODY])
        voices = np.stack([_mean(groups, found == one) for one in sure])
        doubt = np.flatnonzero(found == NOBODY)
        found[doubt] = sure[(groups.sums[doubt] @ voices.T).argmax(axis=1)]
    return found


def _linked(groups: Groups, most: float, rules: SpeakerRules) -> NDArray[np.intp]:
    def goes_on(alike: float, seconds: NDArray[np.float32]) -> bool:
        return alike >= rules.alike or len(seconds) > most

    return link(groups.sums, groups.seconds, goes_on)


def _carried_over(labels: NDArray[np.intp], groups: Groups) -> NDArray[np.intp]:
    """Return each cluster's id: of the speaker most of it belonged to, if no other has a better claim."""
    ids = np.full(int(labels.max()) + 1, NOBODY)
    claims = np.zeros((len(ids), int(groups.speakers.max()) + 1))
    has = groups.speakers != NOBODY
    np.add.at(claims, (labels[has], groups.speakers[has]), groups.seconds[has])
    while claims.size and claims.max() > 0:
        cluster, speaker = divmod(int(claims.argmax()), claims.shape[1])
        ids[cluster] = speaker
        claims[cluster], claims[:, speaker] = 0, 0
    return ids


def _is_new(
    cluster: int, labels: NDArray[np.intp], ids: NDArray[np.intp], groups: Groups, rules: SpeakerRules
) -> bool:
    """Return whether a cluster is unlike everyone who has an id, and for long enough."""
    others = np.flatnonzero(ids != NOBODY)
    if not len(others):
        return True
    mean = _mean(groups, labels == cluster)
    nearest = max(float(mean @ _mean(groups, labels == other)) for other in others)
    heard = float(groups.seconds[labels == cluster].sum())
    caution = min(1 + float(groups.seconds.sum()) / rules.caution, rules.most_cautious)
    return heard * (rules.alike + rules.margin - nearest) >= rules.evidence * caution


def _by_weight(labels: NDArray[np.intp], seconds: NDArray[np.float32]) -> list[int]:
    heard = np.bincount(labels, weights=seconds)
    return [int(cluster) for cluster in np.argsort(-heard, kind="stable")]


def _mean(groups: Groups, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = groups.sums[chosen].sum(axis=0) / groups.seconds[chosen].sum()
    return mean


def _most(memory: Memory) -> float:
    """Return how many speakers there may be."""
    wishes = memory.wishes
    return float(wishes.count or wishes.most or np.inf)
