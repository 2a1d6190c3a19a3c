"""A resampler's samples depend on the audio alone."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.audio.resample import Resampler
from echoic.units import rescale

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MODEL_RATE = 16_000
RATES = [8000, 11_025, 12_345, 22_050, 44_100, 48_000, 96_000, 191_999, 192_000]


@cache
def speech_like(rate: int, seconds: int = 2) -> NDArray[np.float32]:
    """Noise with the spectrum and the syllables of speech."""
    count = rate * seconds
    spectrum = np.fft.rfft(np.random.default_rng(rate).standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / rate)
    shape = (frequency > 80) / (1 + (frequency / 500) ** 2) / (1 + (frequency / 6000) ** 8)
    noise = np.fft.irfft(spectrum * shape, count)
    noise *= 0.6 + 0.4 * np.sin(8 * np.pi * np.arange(count) / rate)
    samples: NDArray[np.float32] = (noise / np.abs(noise).max() / 2).astype(np.float32)
    return samples


def tone(rate: int) -> NDArray[np.float32]:
    """A second of 440 Hz at half of full scale."""
    return (np.sin(2 * np.pi * 440 * np.arange(rate) / rate) / 2).astype(np.float32)


def pieces(samples: NDArray[np.float32], cuts: Iterable[int]) -> list[NDArray[np.float32]]:
    places = [0, *sorted(cut for cut in cuts if cut < len(samples)), len(samples)]
    return [samples[start:end] for start, end in pairwise(places)]


def push_all(resampler: Resampler, parts: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([resampler.push(part) for part in parts])


def rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@given(
    rate=st.sampled_from(RATES) | st.integers(8000, 192_000),
    new_rate=st.sampled_from([MODEL_RATE, 8000, 24_000]),
    length=st.floats(0, 1),
    cuts=st.lists(st.floats(0, 1), max_size=30),
)
@settings(max_examples=80, deadline=None)
def test_output_and_tail_do_not_depend_on_the_chunks(
    rate: int, new_rate: int, length: float, cuts: list[float]
) -> None:
    audio = speech_like(48_000)[: int(length * rate)]
    whole, cut = Resampler(rate, new_rate), Resampler(rate, new_rate)
    expected = whole.push(audio)
    answer = push_all(cut, pieces(audio, [int(place * len(audio)) for place in cuts]))
    assert np.array_equal(answer, expected)
    assert np.array_equal(cut.preview_tail(), whole.preview_tail())


@pytest.mark.parametrize("rate", RATES)
def test_output_and_tail_reach_the_last_input_sample(rate: int) -> None:
    resampler = Resampler(rate, MODEL_RATE)
    for part in pieces(speech_like(rate), range(0, 2 * rate, rate // 37)):
        resampler.push(part)
        assert resampler.emitted + len(resampler.preview_tail()) == rescale(
            resampler.consumed, rate, MODEL_RATE
        )


@pytest.mark.parametrize("rate", RATES)
def test_the_tail_does_not_change_the_stream(rate: int) -> None:
    asked, left_alone = Resampler(rate, MODEL_RATE), Resampler(rate, MODEL_RATE)
    for part in pieces(speech_like(rate), range(0, 2 * rate, rate // 10)):
        out = asked.push(part)
        asked.preview_tail()
        assert np.array_equal(out, left_alone.push(part))


@pytest.mark.parametrize("rate", RATES)
def test_the_tail_predicts_the_output_except_its_end(rate: int) -> None:
    audio = speech_like(rate)
    resampler = Resampler(rate, MODEL_RATE)
    tails, out = [], []
    for part in pieces(audio, range(0, 2 * rate, rate // 13)):
        out.append(resampler.push(part))
        tails.append((resampler.emitted, resampler.preview_tail()))
    came = np.concatenate(out)
    settled, last = [], []
    for start, tail in tails:
        end = start + len(tail)
        if MODEL_RATE // 2 < end <= len(came):
            settled.append(came[start : end - 32] - tail[:-32])
            last.append(came[end - 32 : end] - tail[-32:])
    assert len(settled) > 10
    assert rms(np.concatenate(settled)) < 0.01 * rms(came)
    assert rms(np.concatenate(last)) < 0.25 * rms(came)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_frequency_phase_and_level(rate: int) -> None:
    resampler = Resampler(rate, MODEL_RATE)
    out = resampler.push(tone(rate))
    heard = np.concatenate((out, resampler.preview_tail()))
    assert rms((heard - tone(MODEL_RATE))[800:-800]) < 1e-4


def test_full_scale_stays_within_full_scale() -> None:
    square = np.where(np.arange(48_000) // 40 % 2, 1, -1).astype(np.float32)
    resampler = Resampler(48_000, MODEL_RATE)
    assert np.abs(resampler.push(square)).max() <= 1
    assert np.abs(resampler.preview_tail()).max() <= 1


def test_equal_rates_pass_through() -> None:
    audio = speech_like(MODEL_RATE)
    resampler = Resampler(MODEL_RATE, MODEL_RATE)
    assert np.array_equal(push_all(resampler, pieces(audio, [1, 7, 5000])), audio)
    assert len(resampler.preview_tail()) == 0
    assert resampler.consumed == resampler.emitted == len(audio)


def test_no_input_gives_no_output() -> None:
    resampler = Resampler(48_000, MODEL_RATE)
    assert len(resampler.push(np.empty(0, dtype=np.float32))) == 0
    assert len(resampler.preview_tail()) == 0
