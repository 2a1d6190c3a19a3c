"""Average-linkage clustering of groups of speaker embeddings.

The similarity of two groups is the mean cosine over all pairs of their windows. Unlike the cosine of two
centroids, it does not depend on the amount of speech, so one threshold serves short and long recordings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Similarity of pairs that must not merge.
_EXCLUDED = -2.0


def compute_similarity(sums: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean cosine between the windows of each pair of groups.

    Args:
        sums: The weighted sums of their unit vectors: float32, shape ``(groups, size)``.
        weights: The sums of their weights: float32, shape ``(groups,)``.

    Returns:
        float32, shape ``(groups, groups)``; -2 on the diagonal.
    """
    means = sums / weights[:, np.newaxis]
    similarity: NDArray[np.float32] = means @ means.T
    np.fill_diagonal(similarity, _EXCLUDED)
    return similarity


def cluster_groups(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    should_merge: Callable[[float, NDArray[np.float32]], bool],
) -> NDArray[np.intp]:
    """Return the cluster of each group, numbered from 0 in the order of their first groups.

    The two most similar clusters are merged for as long as ``should_merge`` agrees.

    Args:
        sums: As for ``compute_similarity``.
        weights: As for ``compute_similarity``.
        should_merge: Takes the similarity of the closest pair and the weights of all clusters.
    """
    cluster_weights = weights.astype(np.float32).copy()
    products = (sums @ sums.T).astype(np.float32)
    similarity = compute_similarity(sums, weights)
    labels = np.arange(len(cluster_weights))
    while len(cluster_weights) > 1:
        one, other = sorted(divmod(int(similarity.argmax()), len(cluster_weights)))
        best = float(similarity[one, other])
        if best == _EXCLUDED or not should_merge(best, cluster_weights[cluster_weights > 0]):
            break
        products[one] += products[other]
        products[:, one] += products[:, other]
        cluster_weights[one] += cluster_weights[other]
        cluster_weights[other] = 0
        row = np.where(
            cluster_weights > 0,
            products[one] / np.maximum(cluster_weights[one] * cluster_weights, 1e-9),
            _EXCLUDED,
        )
        row[one] = _EXCLUDED
        similarity[one], similarity[:, one] = row, row
        similarity[other], similarity[:, other] = _EXCLUDED, _EXCLUDED
        labels[labels == other] = one
    return _relabel_in_order(labels)


def find_closest_pair(similarity: NDArray[np.float32], speakers: NDArray[np.intp]) -> tuple[int, int]:
    """Return the two most similar groups, preferring pairs of the same speaker.

    Args:
        similarity: As ``compute_similarity`` returns it.
        speakers: Speaker of each group.
    """
    same = np.where(speakers[:, np.newaxis] == speakers, similarity, _EXCLUDED)
    chosen = same if same.max() > _EXCLUDED else similarity
    one, other = sorted(divmod(int(chosen.argmax()), len(similarity)))
    return one, other


def _relabel_in_order(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    ranks = np.empty_like(first)
    ranks[np.argsort(first)] = np.arange(len(first))
    ordered: NDArray[np.intp] = ranks[inverse]
    return ordered
