from __future__ import annotations

import numpy as np
import pytest

from echoic.diarization.clustering import cluster_groups, compute_similarity, find_closest_pair

#: Three directions, the first two 60 degrees apart.
ONE, TWO, THREE = (1.0, 0.0, 0.0), (0.5, 0.75**0.5, 0.0), (0.0, 0.0, 1.0)


def build_sums(*rows: tuple[float, float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_similarity_is_the_mean_over_pairs_of_windows() -> None:
    both = build_sums((1.5, 0.75**0.5, 0.0), THREE, ONE)
    similarity = compute_similarity(both, np.array([2, 1, 1], np.float32))
    assert similarity[0, 2] == pytest.approx((1 + 0.5) / 2)
    assert similarity[0, 1] == pytest.approx(0)


def test_the_most_similar_clusters_are_merged_first() -> None:
    weights = np.ones(4, np.float32)
    rows = build_sums(ONE, THREE, TWO, THREE)
    assert cluster_groups(rows, weights, lambda similarity, _: similarity > 0.4).tolist() == [0, 1, 0, 1]
    assert cluster_groups(rows, weights, lambda similarity, _: similarity > 0.9).tolist() == [0, 1, 2, 1]
    assert cluster_groups(rows, weights, lambda _, left: len(left) > 1).tolist() == [0, 0, 0, 0]


def test_one_group_is_one_cluster() -> None:
    assert cluster_groups(build_sums(ONE), np.ones(1, np.float32), lambda *_: True).tolist() == [0]


def test_the_closest_pair_prefers_one_speaker() -> None:
    similarity = compute_similarity(build_sums(ONE, ONE, TWO, THREE), np.ones(4, np.float32))
    assert find_closest_pair(similarity, np.array([0, 1, 0, 2])) == (0, 2)
    assert find_closest_pair(similarity, np.array([0, 1, 2, 3])) == (0, 1)
