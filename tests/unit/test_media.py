from __future__ import annotations

import tracemalloc
import wave
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.media import UnreadableAudio, read_audio, read_audio_seconds

Codec = Literal["aac", "flac", "libmp3lame"]


def sine(seconds: float, rate: int, level: float = 0.5) -> NDArray[np.float32]:
    times = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def write_wave(file: Path, channels: NDArray[np.float32], rate: int) -> Path:
    """Write float samples of the shape (n, channels) as 16-bit PCM."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((channels * 32767).astype("<i2").tobytes())
    return file


def write_encoded(file: Path, codec: Codec, *, delay: float = 0.0, video: bool = False) -> Path:
    """Write two seconds of a sine at 48 kHz that begins after ``delay`` seconds, on demand with a picture."""
    rate = 48_000
    with av.open(str(file), "w") as container:
        picture = (
            container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p") if video else None
        )
        track = container.add_stream(codec, rate=rate, layout="stereo")
        if picture is not None:
            for _ in range(30):
                container.mux(picture.encode(av.VideoFrame(32, 32, "yuv420p")))
            container.mux(picture.encode(None))
        step = track.frame_size or 1024
        samples = np.stack([sine(2.0, rate)] * 2)
        for start in range(0, samples.shape[1] - step, step):
            part = np.ascontiguousarray(samples[:, start : start + step])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, start + round(delay * rate)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return file


def read(file: Path, rate: int = 16_000) -> NDArray[np.float32]:
    return np.concatenate(list(read_audio(file, rate)))


def test_a_file_at_the_wanted_rate_is_unchanged(tmp_path: Path) -> None:
    samples = sine(1.3, 16_000)
    heard = read(write_wave(tmp_path / "a.wav", samples[:, None], 16_000))
    assert heard.dtype == np.float32
    assert len(heard) == len(samples)
    assert np.abs(heard - samples).max() < 1e-4


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    file = write_wave(tmp_path / "a.wav", sine(0.5, 16_000)[:, None], 16_000)
    assert sum(map(len, read_audio(str(file)))) == 8_000
    assert read_audio_seconds(str(file)) == pytest.approx(0.5)


def test_only_the_last_chunk_is_shorter(tmp_path: Path) -> None:
    file = write_wave(tmp_path / "a.wav", sine(1.05, 16_000)[:, None], 16_000)
    assert [len(piece) for piece in read_audio(file, chunk_seconds=0.25)] == [4000] * 4 + [800]


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_keeps_the_end(tmp_path: Path, rate: int) -> None:
    heard = read(write_wave(tmp_path / "a.wav", sine(2.0, rate)[:, None], rate))
    assert abs(len(heard) - 32_000) <= 2
    assert np.abs(heard[1000:-1000] - sine(2.0, 16_000)[1000 : len(heard) - 1000]).max() < 0.01


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    left = sine(1.0, 16_000, 0.8)
    heard = read(write_wave(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 16_000))
    assert np.abs(heard - left / 2).max() < 1e-4


def test_surround_sound_stays_within_range(tmp_path: Path) -> None:
    loud = np.stack([sine(1.0, 48_000, 1.0)] * 6, axis=1)
    heard = read(write_wave(tmp_path / "a.wav", loud, 48_000))
    assert 0.5 < np.abs(heard).max() <= 1.0


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac")])
def test_compressed_files_keep_level_and_length(tmp_path: Path, name: str, codec: Codec) -> None:
    file = write_encoded(tmp_path / name, codec)
    heard = read(file)
    assert len(heard) / 16_000 == pytest.approx(2.0, abs=0.1)
    assert float(heard.std()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert read_audio_seconds(file) == pytest.approx(2.0, abs=0.1)


def test_a_late_audio_track_keeps_its_time(tmp_path: Path) -> None:
    heard = read(write_encoded(tmp_path / "a.mkv", "aac", delay=0.8, video=True))
    first = int(np.argmax(np.abs(heard) > 0.1)) / 16_000
    assert first == pytest.approx(0.8, abs=0.05)


def test_a_truncated_file_is_decoded_to_its_end(tmp_path: Path) -> None:
    whole = write_encoded(tmp_path / "a.flac", "flac")
    cut = tmp_path / "b.flac"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 0.3 < len(read(cut)) / 16_000 < 1.5


def test_a_long_file_is_never_held_in_memory(tmp_path: Path) -> None:
    file = write_wave(tmp_path / "a.wav", np.zeros((300 * 16_000, 1), np.float32), 16_000)
    tracemalloc.start()
    try:
        count = sum(len(piece) for piece in read_audio(file))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 300 * 16_000
    assert peak < 2**20


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not an audio"),
        (bytes(range(256)) * 9, "is not an audio"),
        (b"words, no sound " * 99, "no audio track"),
    ],
)
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(UnreadableAudio, match=complaint) as caught:
        read_audio(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(UnreadableAudio, match="cannot be opened"):
        read_audio(tmp_path)


def test_a_file_name_that_looks_like_a_url_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pipe:0.wav"
    write_wave(file, sine(0.5, 16_000)[:, None], 16_000)
    assert len(read(file)) == 8_000
