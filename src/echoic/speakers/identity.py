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
        apart: The share of the evidence that is enough where the model of turns hears another voice than
            somebody known, too.
        unlike: How far below ``alike`` the likeness to everyone known must then be.
        switch: The price of a change of speakers from slot to slot, in cosines.
    """

    alike: float = 0.34
    margin: float = 0.05
    evidence: float = 0.25
    caution: float = 60.0
    most_cautious: float = 3.0
    apart: float = 0.5
    unlike: float = 0.1
    switch: float = 0.1


def named(memory: Memory, rules: SpeakerRules, voices: NDArray[np.intp]) -> Memory:
    """Return the memory with its groups clustered anew and their speakers named, new ones if need be.

    Args:
        memory: What is known.
        rules: When somebody is new.
        voices: The voice of the scene that each of the memory's views is, or ``NOBODY``.
    """
    groups = memory.groups
    labels = _linked(groups, _most(memory), rules)
    ids = _carried_over(labels, groups)
    known = memory.known
    apart = _heard_apart(labels[memory.views.groups], ids, voices)
    for cluster in _by_weight(labels, groups.seconds):
        enough = rules.apart if cluster in apart else 1.0
        if ids[cluster] == NOBODY and _is_new(cluster, labels, ids, groups, rules, enough):
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


def _heard_apart(clusters: NDArray[np.intp], ids: NDArray[np.intp], voices: NDArray[np.intp]) -> set[int]:
    """Return the clusters that nobody is yet, and that are another voice of the scene than somebody known.

    That voice must mostly be the cluster, unless one speaker is all there is.

    Args:
        clusters: Those of the scene's windows.
        ids: Each cluster's speaker.
        voices: Those of the scene's windows, or ``NOBODY``.
    """
    heard = np.zeros((int(voices.max(initial=NOBODY)) + 1, len(ids)), np.intp)
    np.add.at(heard, (voices[voices != NOBODY], clusters[voices != NOBODY]), 1)
    mostly = np.where(heard.any(axis=1), heard.argmax(axis=1), NOBODY)
    is_known = (mostly != NOBODY) & (ids[mostly] != NOBODY)
    alone = np.count_nonzero(ids != NOBODY) == 1
    found = set()
    for cluster in np.flatnonzero((ids == NOBODY) & heard.any(axis=0)).tolist():
        voice = int(heard[:, cluster].argmax())
        if (alone or mostly[voice] == cluster) and np.delete(is_known, voice).any():
            found.add(cluster)
    return found


def _is_new(
    cluster: int,
    labels: NDArray[np.intp],
    ids: NDArray[np.intp],
    groups: Groups,
    rules: SpeakerRules,
    enough: float = 1.0,
) -> bool:
    """Return whether a cluster is unlike everyone who has an id, and for long enough.

    Where a share of the evidence is ``enough``, it has to be the more unlike.
    """
    others = np.flatnonzero(ids != NOBODY)
    if not len(others):
        return True
    mean = _mean(groups, labels == cluster)
    nearest = max(float(mean @ _mean(groups, labels == other)) for other in others)
    heard = float(groups.seconds[labels == cluster].sum())
    caution = min(1 + float(groups.seconds.sum()) / rules.caution, rules.most_cautious)
    wanted = rules.evidence * caution * (enough if nearest < rules.alike - rules.unlike else 1.0)
    return heard * (rules.alike + rules.margin - nearest) >= wanted


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
