"""Clusters of voices: average linkage over a bounded number of groups of windows.

The likeness of two groups is the mean cosine over all pairs of their windows. It neither rises nor falls with
how much was heard, as the cosine of two centroids does, and so one threshold serves short and long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_EXCLUDED = -2.0


def compute_similarity(sums: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean cosine between the windows of each two groups.

    Args:
        sums: The weighted sums of their unit vectors: float32, shape ``(groups, size)``.
        weights: The sums of their weights: float32, shape ``(groups,)``.

    Returns:
        float32, shape ``(groups, groups)``; of a group with itself: -2.
    """
    means = sums / weights[:, np.newaxis]
    alike: NDArray[np.float32] = means @ means.T
    np.fill_diagonal(alike, _EXCLUDED)
    return alike


def cluster_groups(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    should_merge: Callable[[float, NDArray[np.float32]], bool],
) -> NDArray[np.intp]:
    """Return each group's cluster, counted from 0 in the order of their first groups.

    The two clusters that are most alike become one for as long as they should.

    Args:
        sums: As for ``compute_similarity``.
        weights: The same.
        should_merge: Whether two that are so alike are to be one; it sees the clusters' weights as well.
    """
    heavy = weights.astype(np.float32).copy()
    products = (sums @ sums.T).astype(np.float32)
    alike = compute_similarity(sums, weights)
    labels = np.arange(len(heavy))
    while len(heavy) > 1:
        one, other = sorted(divmod(int(alike.argmax()), len(heavy)))
        best = float(alike[one, other])
        if best == _EXCLUDED or not should_merge(best, heavy[heavy > 0]):
            break
        products[one] += products[other]
        products[:, one] += products[:, other]
        heavy[one] += heavy[other]
        heavy[other] = 0
        row = np.where(heavy > 0, products[one] / np.maximum(heavy[one] * heavy, 1e-9), _EXCLUDED)
        row[one] = _EXCLUDED
        alike[one], alike[:, one] = row, row
        alike[other], alike[:, other] = _EXCLUDED, _EXCLUDED
        labels[labels == other] = one
    return _relabel_in_order(labels)


def find_closest_pair(similarity: NDArray[np.float32], speakers: NDArray[np.intp]) -> tuple[int, int]:
    """Return the two groups that are most alike, of one speaker if there are such two.

    Args:
        similarity: What ``compute_similarity`` returns.
        speakers: Each group's speaker.
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
