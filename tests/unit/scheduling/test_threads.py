from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoic.scheduling.threads import trim_heap

STATUS = Path("/proc/self/statm")


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's view of a process")
def test_memory_in_pieces_is_given_back_to_the_system() -> None:
    pieces = [np.ones(8_000) for _ in range(2_000)]  # 64 kB each: below what is asked of the system by itself
    kept = pieces[::200]
    before = read_resident_memory()
    del pieces
    trim_heap()
    assert read_resident_memory() < before - 5_000
    assert len(kept) == 10


def read_resident_memory() -> int:
    """Return the pages of this process that are in memory."""
    return int(STATUS.read_text().split()[1])
