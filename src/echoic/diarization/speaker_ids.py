"""Clusters groups of embeddings into speakers and keeps speaker ids stable."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.clustering import cluster_groups
from echoic.diarization.state import UNKNOWN, DiarizerState, EmbeddingGroups


@dataclass(frozen=True, slots=True)
class SpeakerClusteringConfig:
    """Thresholds of clustering and of new speakers, tuned on recordings (docs/decisions/0020)."""

    #: Mean cosine from which windows belong to one speaker.
    min_similarity: float = 0.34
    #: Added to ``min_similarity`` when a new speaker is considered.
    new_speaker_margin: float = 0.05
    #: Evidence for a new speaker: seconds of speech times the amount by which the similarity to every
    #: known speaker is below ``min_similarity + new_speaker_margin``.
    min_evidence: float = 0.25
    #: The required evidence grows by the factor 1 + (seconds of speech / ``caution_seconds``), up to
    #: ``max_caution``, because a long session has more segments that wrongly look new.
    caution_seconds: float = 60.0
    #: Upper limit of the factor of ``caution_seconds``.
    max_caution: float = 3.0
    #: This share of the required evidence is enough if the segmentation model also separates the voice from a
    #: known speaker, and the similarity to every known speaker is below ``min_similarity`` by at least
    #: ``separate_voice_margin``.
    separate_voice_share: float = 0.5
    #: See ``separate_voice_share``.
    separate_voice_margin: float = 0.1
    #: Penalty for a change of speakers between two slots, as a cosine.
    switch_penalty: float = 0.1


def assign_speakers(
    state: DiarizerState, config: SpeakerClusteringConfig, window_voices: NDArray[np.intp]
) -> DiarizerState:
    """Cluster the groups again and give each cluster a known or a new speaker id.

    Args:
        state: The state of the session.
        config: Thresholds.
        window_voices: Voice of each recent window, or ``UNKNOWN``.

    Returns:
        The state with new speakers of its groups.
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
    """Return the final speaker of each group; every group gets a speaker."""
    groups = state.groups
    labels = _cluster_by_similarity(groups, _get_speaker_limit(state), config)
    ids = _match_speaker_ids(labels, groups)
    for cluster in reversed(_sort_by_duration(labels, groups.seconds)):
        known, ids[cluster] = ids[cluster], UNKNOWN
        if _is_new_speaker(cluster, labels, ids, groups, config):
            ids[cluster] = known
    speakers = ids[labels]
    if (speakers == UNKNOWN).any():
        known_ids = np.unique(speakers[speakers != UNKNOWN])
        centroids = np.stack([_compute_centroid(groups, speakers == speaker) for speaker in known_ids])
        unknown = np.flatnonzero(speakers == UNKNOWN)
        speakers[unknown] = known_ids[(groups.sums[unknown] @ centroids.T).argmax(axis=1)]
    return speakers


def _cluster_by_similarity(
    groups: EmbeddingGroups, max_speakers: float, config: SpeakerClusteringConfig
) -> NDArray[np.intp]:
    def should_merge(similarity: float, seconds: NDArray[np.float32]) -> bool:
        return similarity >= config.min_similarity or len(seconds) > max_speakers

    return cluster_groups(groups.sums, groups.seconds, should_merge)


def _match_speaker_ids(labels: NDArray[np.intp], groups: EmbeddingGroups) -> NDArray[np.intp]:
    """Return the speaker id of each cluster: the one it shares most seconds with, each id only once."""
    ids = np.full(int(labels.max()) + 1, UNKNOWN)
    shared = np.zeros((len(ids), int(groups.speakers.max()) + 1))
    has = groups.speakers != UNKNOWN
    np.add.at(shared, (labels[has], groups.speakers[has]), groups.seconds[has])
    while shared.size and shared.max() > 0:
        cluster, speaker = divmod(int(shared.argmax()), shared.shape[1])
        ids[cluster] = speaker
        shared[cluster], shared[:, speaker] = 0, 0
    return ids


def _find_separate_voices(
    clusters: NDArray[np.intp], ids: NDArray[np.intp], voices: NDArray[np.intp]
) -> set[int]:
    """Return the unknown clusters whose voice the segmentation model separates from a known speaker.

    The cluster must dominate that voice, unless there is only one known speaker.

    Args:
        clusters: Cluster of each recent window.
        ids: Speaker of each cluster.
        voices: Voice of each recent window, or ``UNKNOWN``.
    """
    counts = np.zeros((int(voices.max(initial=UNKNOWN)) + 1, len(ids)), np.intp)
    np.add.at(counts, (voices[voices != UNKNOWN], clusters[voices != UNKNOWN]), 1)
    dominant = np.where(counts.any(axis=1), counts.argmax(axis=1), UNKNOWN)
    is_known = (dominant != UNKNOWN) & (ids[dominant] != UNKNOWN)
    has_one_speaker = np.count_nonzero(ids != UNKNOWN) == 1
    separate = set()
    for cluster in np.flatnonzero((ids == UNKNOWN) & counts.any(axis=0)).tolist():
        voice = int(counts[:, cluster].argmax())
        if (has_one_speaker or dominant[voice] == cluster) and np.delete(is_known, voice).any():
            separate.add(cluster)
    return separate


def _is_new_speaker(
    cluster: int,
    labels: NDArray[np.intp],
    ids: NDArray[np.intp],
    groups: EmbeddingGroups,
    config: SpeakerClusteringConfig,
    evidence_share: float = 1.0,
) -> bool:
    """Return whether a cluster differs enough from every known speaker, for long enough.

    Args:
        cluster: The cluster.
        labels: Cluster of each group.
        ids: Speaker of each cluster.
        groups: The groups.
        config: Thresholds.
        evidence_share: Share of the evidence that suffices if the cluster differs by the margin for separate
            voices.
    """
    others = np.flatnonzero(ids != UNKNOWN)
    if not len(others):
        return True
    mean = _compute_centroid(groups, labels == cluster)
    nearest = max(float(mean @ _compute_centroid(groups, labels == other)) for other in others)
    seconds = float(groups.seconds[labels == cluster].sum())
    caution = min(1 + float(groups.seconds.sum()) / config.caution_seconds, config.max_caution)
    required = (
        config.min_evidence
        * caution
        * (evidence_share if nearest < config.min_similarity - config.separate_voice_margin else 1.0)
    )
    return seconds * (config.min_similarity + config.new_speaker_margin - nearest) >= required


def _sort_by_duration(labels: NDArray[np.intp], seconds: NDArray[np.float32]) -> list[int]:
    durations = np.bincount(labels, weights=seconds)
    return [int(cluster) for cluster in np.argsort(-durations, kind="stable")]


def _compute_centroid(groups: EmbeddingGroups, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = groups.sums[chosen].sum(axis=0) / groups.seconds[chosen].sum()
    return mean


def _get_speaker_limit(state: DiarizerState) -> float:
    """Return the most speakers that the client allows."""
    return float(state.options.count or state.options.max_count or np.inf)
