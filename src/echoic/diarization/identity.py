"""Which groups are one speaker, and which speaker that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.clustering import cluster_groups
from echoic.diarization.state import UNKNOWN, DiarizerState, EmbeddingGroups


@dataclass(frozen=True, slots=True)
class SpeakerClusteringConfig:
    """When voices are one and when somebody is new; measured on recordings, docs/decisions/0020.

    Attributes:
        min_similarity: The mean cosine from which windows are of one speaker.
        new_speaker_margin: Added to it when a new speaker is weighed.
        min_evidence: What makes a speaker new: seconds heard times how much the likeness to everyone known falls
            short of ``alike + margin``.
        caution_seconds: Seconds of speech after which twice as much is wanted, and so on: the more was heard, the
            more there is that only seems new.
        max_caution: The most times as much.
        separate_voice_share: The share of the evidence that is enough where the model of turns hears another voice than
            somebody known, too.
        separate_voice_margin: How far below ``alike`` the likeness to everyone known must then be.
        switch_penalty: The price of a change of speakers from slot to slot, in cosines.
    """

    min_similarity: float = 0.34
    new_speaker_margin: float = 0.05
    min_evidence: float = 0.25
    caution_seconds: float = 60.0
    max_caution: float = 3.0
    separate_voice_share: float = 0.5
    separate_voice_margin: float = 0.1
    switch_penalty: float = 0.1


def assign_speakers(
    state: DiarizerState, config: SpeakerClusteringConfig, window_voices: NDArray[np.intp]
) -> DiarizerState:
    """Return the memory with its groups clustered anew and their speakers named, new ones if need be.

    Args:
        state: What is known.
        config: When somebody is new.
        window_voices: The voice of the scene that each of the memory's views is, or ``NOBODY``.
    """
    groups = state.groups
    labels = _cluster_by_similarity(groups, _get_speaker_limit(state), config)
    ids = _match_speaker_ids(labels, groups)
    known = state.speaker_count
    apart = _find_separate_voices(labels[state.recent_windows.groups], ids, window_voices)
    for cluster in _sort_by_duration(labels, groups.seconds):
        enough = config.separate_voice_share if cluster in apart else 1.0
        if ids[cluster] == UNKNOWN and _is_new_speaker(cluster, labels, ids, groups, config, enough):
            if known >= _get_speaker_limit(state):
                continue
            ids[cluster], known = known, known + 1
    return replace(state, groups=groups.with_speakers(ids[labels]), speaker_count=known)


def resolve_final_speakers(state: DiarizerState, config: SpeakerClusteringConfig) -> NDArray[np.intp]:
    """Return the speaker of each group after all that was heard; nobody is ``NOBODY``."""
    groups = state.groups
    labels = _cluster_by_similarity(groups, _get_speaker_limit(state), config)
    ids = _match_speaker_ids(labels, groups)
    for cluster in reversed(_sort_by_duration(labels, groups.seconds)):
        known, ids[cluster] = ids[cluster], UNKNOWN
        if _is_new_speaker(cluster, labels, ids, groups, config):
            ids[cluster] = known
    found = ids[labels]
    if (found == UNKNOWN).any():
        sure = np.unique(found[found != UNKNOWN])
        voices = np.stack([_compute_centroid(groups, found == one) for one in sure])
        doubt = np.flatnonzero(found == UNKNOWN)
        found[doubt] = sure[(groups.sums[doubt] @ voices.T).argmax(axis=1)]
    return found


def _cluster_by_similarity(
    groups: EmbeddingGroups, max_speakers: float, config: SpeakerClusteringConfig
) -> NDArray[np.intp]:
    def should_merge(similarity: float, seconds: NDArray[np.float32]) -> bool:
        return similarity >= config.min_similarity or len(seconds) > max_speakers

    return cluster_groups(groups.sums, groups.seconds, should_merge)


def _match_speaker_ids(labels: NDArray[np.intp], groups: EmbeddingGroups) -> NDArray[np.intp]:
    """Return each cluster's id: of the speaker most of it belonged to, if no other has a better claim."""
    ids = np.full(int(labels.max()) + 1, UNKNOWN)
    claims = np.zeros((len(ids), int(groups.speakers.max()) + 1))
    has = groups.speakers != UNKNOWN
    np.add.at(claims, (labels[has], groups.speakers[has]), groups.seconds[has])
    while claims.size and claims.max() > 0:
        cluster, speaker = divmod(int(claims.argmax()), claims.shape[1])
        ids[cluster] = speaker
        claims[cluster], claims[:, speaker] = 0, 0
    return ids


def _find_separate_voices(
    clusters: NDArray[np.intp], ids: NDArray[np.intp], voices: NDArray[np.intp]
) -> set[int]:
    """Return the clusters that nobody is yet, and that are another voice of the scene than somebody known.

    That voice must mostly be the cluster, unless one speaker is all there is.

    Args:
        clusters: Those of the scene's windows.
        ids: Each cluster's speaker.
        voices: Those of the scene's windows, or ``NOBODY``.
    """
    heard = np.zeros((int(voices.max(initial=UNKNOWN)) + 1, len(ids)), np.intp)
    np.add.at(heard, (voices[voices != UNKNOWN], clusters[voices != UNKNOWN]), 1)
    mostly = np.where(heard.any(axis=1), heard.argmax(axis=1), UNKNOWN)
    is_known = (mostly != UNKNOWN) & (ids[mostly] != UNKNOWN)
    alone = np.count_nonzero(ids != UNKNOWN) == 1
    found = set()
    for cluster in np.flatnonzero((ids == UNKNOWN) & heard.any(axis=0)).tolist():
        voice = int(heard[:, cluster].argmax())
        if (alone or mostly[voice] == cluster) and np.delete(is_known, voice).any():
            found.add(cluster)
    return found


def _is_new_speaker(
    cluster: int,
    labels: NDArray[np.intp],
    ids: NDArray[np.intp],
    groups: EmbeddingGroups,
    config: SpeakerClusteringConfig,
    evidence_share: float = 1.0,
) -> bool:
    """Return whether a cluster is unlike everyone who has an id, and for long enough.

    Where a share of the evidence is ``evidence_share``, it has to be the more unlike.
    """
    others = np.flatnonzero(ids != UNKNOWN)
    if not len(others):
        return True
    mean = _compute_centroid(groups, labels == cluster)
    nearest = max(float(mean @ _compute_centroid(groups, labels == other)) for other in others)
    heard = float(groups.seconds[labels == cluster].sum())
    caution = min(1 + float(groups.seconds.sum()) / config.caution_seconds, config.max_caution)
    wanted = (
        config.min_evidence
        * caution
        * (evidence_share if nearest < config.min_similarity - config.separate_voice_margin else 1.0)
    )
    return heard * (config.min_similarity + config.new_speaker_margin - nearest) >= wanted


def _sort_by_duration(labels: NDArray[np.intp], seconds: NDArray[np.float32]) -> list[int]:
    heard = np.bincount(labels, weights=seconds)
    return [int(cluster) for cluster in np.argsort(-heard, kind="stable")]


def _compute_centroid(groups: EmbeddingGroups, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = groups.sums[chosen].sum(axis=0) / groups.seconds[chosen].sum()
    return mean


def _get_speaker_limit(state: DiarizerState) -> float:
    """Return how many speakers there may be."""
    wishes = state.options
    return float(wishes.count or wishes.max_count or np.inf)
