from __future__ import annotations

import numpy as np
import pytest

from echoic.diarization.embedding import CamPlusPlus
from echoic.diarization.models import EMBEDDING_FILE
from support.tiny_parakeet import read_recordings

RATE = 16_000


@pytest.fixture(scope="module")
def model() -> CamPlusPlus:
    return CamPlusPlus(EMBEDDING_FILE)


def test_embeddings_are_unit_vectors_in_any_batch(model: CamPlusPlus) -> None:
    audio = max((clip for clip, _ in read_recordings()), key=len)
    windows = [(0, 19_200), (6_400, 25_600), (100, 5_000), (12_800, 32_000)]
    together = model.embed_windows(audio, windows)
    assert together.shape == (4, 192)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for vector, window in zip(together, windows, strict=True):
        np.testing.assert_allclose(model.embed_windows(audio, [window])[0], vector, atol=1e-4)


def test_no_windows_give_no_embeddings(model: CamPlusPlus) -> None:
    assert model.embed_windows(np.zeros(RATE, np.float32), []).shape == (0, 192)


def test_one_voice_is_more_similar_to_itself_than_to_others(model: CamPlusPlus) -> None:
    clips = [clip for clip, _ in read_recordings() if clip.size >= 2 * RATE]
    halves = [
        (model.embed_windows(clip, [(0, RATE)])[0], model.embed_windows(clip, [(RATE, 2 * RATE)])[0])
        for clip in clips
    ]
    same = np.mean([first @ second for first, second in halves])
    others = np.mean([halves[place - 1][0] @ halves[place][1] for place in range(len(halves))])
    assert same > others + 0.15
