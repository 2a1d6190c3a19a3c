"""Hypothesis strategies for tests of the session: speech, chunks, codings and durations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from echoic.engines.scripted import VOCABULARY, draw_words
from echoic.protocol.codec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Seconds of a word with the gap after it; long enough that each half can be recognized.
_WORD_SECONDS = st.sampled_from([0.1, 0.25, 0.3, 0.4, 0.9])
_PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.3, 4.0])


@dataclass(frozen=True)
class SpokenWords:
    """Words, and audio that the scripted engine recognizes as them (float32, mono, 0..1)."""

    words: tuple[str, ...]
    rate: int
    samples: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Speech({len(self.samples) / self.rate:g} s at {self.rate}: {' '.join(self.words)})"


@st.composite
def spoken_words(draw_from: st.DrawFn, *, rate: int = 16_000, max_words: int = 14) -> SpokenWords:
    """Words of different lengths with pauses between them."""
    said: list[str | tuple[str, float]] = [("", draw_from(_PAUSES))]
    words = draw_from(st.lists(st.sampled_from(VOCABULARY[:12]), max_size=max_words))
    for word, following in zip_longest(words, words[1:]):
        seconds = draw_from(_WORD_SECONDS)
        # A repetition within a quarter of a second counts as one word that a commit cut.
        said += [(word, max(seconds, 0.3) if word == following else seconds), ("", draw_from(_PAUSES))]
    return SpokenWords(tuple(words), rate, draw_words(said, rate=rate))


@dataclass(frozen=True)
class SampleCoding:
    """Sample format of audio messages."""

    rate: int = 16_000
    audio_format: str = "f32le"
    channels: int = 1

    @property
    def config_values(self) -> dict[str, object]:
        """The keys of a config frame."""
        return {"sample_rate": self.rate, "audio_format": self.audio_format, "channels": self.channels}

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return (4 if self.audio_format == "f32le" else 2) * self.channels

    def encode(self, samples: NDArray[np.float32]) -> bytes:
        """Encode samples, the same in every channel."""
        wide = np.repeat(samples, self.channels)
        return (
            wide.astype("<f4").tobytes()
            if self.audio_format == "f32le"
            else (wide * 32_768).astype("<i2").tobytes()
        )


CODINGS = st.builds(
    SampleCoding,
    st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    st.sampled_from(["f32le", "s16le"]),
    st.integers(1, 2),
)


def cut_places(samples: int) -> st.SearchStrategy[list[int]]:
    """Draw positions at which to cut a number of samples."""
    anywhere = st.lists(st.integers(0, samples), max_size=12).map(sorted)
    evenly = st.sampled_from([1_600, 320, 8_000, 12_345]).map(lambda step: list(range(step, samples, step)))
    return anywhere | evenly


def cut_bytes(data: bytes, frame_bytes: int, places: list[int]) -> Iterator[bytes]:
    """Yield the data cut at these samples and at the maximum message size."""
    end = len(data) // frame_bytes
    edges = sorted([0, *places, *range(0, end, MAX_MESSAGE_BYTES // frame_bytes), end])
    for start, end in pairwise(edges):
        yield data[start * frame_bytes : end * frame_bytes]


#: Valid pairs of chunk and overlap in seconds.
CHUNK_AND_OVERLAP = st.sampled_from(
    [(2.0, 0.5), (1.0, 0.2), (0.2, 0.1), (0.7, 0.1), (3.0, 2.5), (5.0, 0.0), (1.0, 0.9)]
)
