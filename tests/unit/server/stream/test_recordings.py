"""Recordings: valid WAV files, permissions, full disks, retention."""

from __future__ import annotations

import asyncio
import os
import resource
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.server.stream.recordings import Recordings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NEW, OLD = "0123456789ab.wav", "ba9876543210.wav"
#: Files that are not recordings.
OTHERS = ("family.wav", "0123456789abc.wav", "0123456789ab.txt")
SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)


def fail_never() -> None:
    raise AssertionError


def read_samples(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


async def test_a_recording_is_a_wav_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "audio")
    recording = recordings.open_recording("a.wav", fail_never)
    recording.write(SECOND)
    recording.write(SECOND)
    await recordings.close()
    samples = read_samples(tmp_path / "audio" / "a.wav")
    assert np.array_equal(samples[:16_000], np.rint(SECOND * 32_767).astype(np.int16))
    assert len(samples) == 32_000
    assert (tmp_path / "audio").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "audio" / "a.wav").stat().st_mode & 0o777 == 0o600


async def test_a_discarded_recording_starts_a_new_file(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recording = recordings.open_recording("a.wav", fail_never)
    recording.write(SECOND)
    recording.discard_audio()
    recording.write(SECOND[:100])
    recording.close()
    await recordings.close()
    assert len(read_samples(tmp_path / "a.wav")) == 100


async def test_without_audio_there_is_no_file(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path)
    recording = recordings.open_recording("a.wav", fail_never)
    recording.write(SECOND[:0])
    recording.discard_audio()
    recording.close()
    await recordings.close()
    assert not (tmp_path / "a.wav").exists()


async def test_a_full_disk_fails_once_and_leaves_a_valid_file(tmp_path: Path) -> None:
    failures = []
    failed = asyncio.Event()

    def fail() -> None:
        failures.append(1)
        failed.set()

    recordings = Recordings(tmp_path)
    recording = recordings.open_recording("a.wav", fail)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        for _ in range(3):
            recording.write(SECOND)
        async with asyncio.timeout(20):
            await failed.wait()
        recording.write(SECOND)
        recording.close()
        await recordings.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert failures == [1]
    assert len(read_samples(tmp_path / "a.wav")) >= 16_000


async def test_a_folder_that_cannot_be_created_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = asyncio.Event()
    recordings = Recordings(tmp_path / "file" / "audio")
    recordings.open_recording("a.wav", failed.set).write(SECOND)
    async with asyncio.timeout(20):
        await failed.wait()
    await recordings.close()


@pytest.mark.parametrize(("days", "left"), [(7.0, {NEW, *OTHERS}), (0.0, {NEW, OLD, *OTHERS})])
def test_only_expired_recordings_are_removed(tmp_path: Path, days: float, left: set[str]) -> None:
    for name in (NEW, OLD, *OTHERS):
        (tmp_path / name).touch()
        if name != NEW:
            os.utime(tmp_path / name, (0, 0))
    Recordings(tmp_path, days).remove_expired()
    assert {path.name for path in tmp_path.iterdir()} == left
