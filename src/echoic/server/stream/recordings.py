"""Stores the audio of sessions as WAV files, and removes expired files."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
import time
import wave
import weakref
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE
from echoic.observability.logging import log_event
from echoic.scheduling.threads import call_soon_threadsafe

log = logging.getLogger(__name__)

#: File names of recordings: the id of a stream. Other files in the folder are never removed.
_RECORDING_NAME: Final = re.compile(r"[0-9a-f]{12}\.wav")
#: Writes of one session that may be pending, about a minute of audio; a slower disk fails the recording.
_MAX_PENDING_WRITES: Final = 64
#: Seconds between two sweeps for expired files.
_SWEEP_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 86_400.0
#: Seconds that ``close`` waits for pending writes.
_CLOSE_SECONDS: Final = 5.0


class Recordings:
    """The folder with the recordings of all sessions; one thread writes, so a slow disk delays no stream.

    Args:
        folder: Created if it is missing, readable by its owner alone.
        retention_days: Days after which a file is removed. 0 means never.
    """

    def __init__(self, folder: Path, retention_days: float = 7.0) -> None:
        self.folder = folder
        self._retention_days = retention_days
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open_recordings: weakref.WeakSet[Recording] = weakref.WeakSet()

    def open_recording(self, name: str, on_failed: Callable[[], None]) -> Recording:
        """Return the recording of a session; the file is created with the first audio.

        Args:
            name: The file name.
            on_failed: Called once, on the event loop, if the file cannot be written.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_jobs, name="echoic-recordings", daemon=True)
            self._thread.start()
        recording = Recording(self.folder / name, self._jobs.put, on_failed)
        self._open_recordings.add(recording)
        return recording

    async def run_sweeps(self) -> None:
        """Remove expired files every hour, until cancelled."""
        while True:
            await asyncio.to_thread(self.remove_expired)
            await asyncio.sleep(_SWEEP_SECONDS)

    def remove_expired(self) -> None:
        """Remove expired recordings, and no other file."""
        if not self._retention_days:
            return
        oldest = time.time() - self._retention_days * _DAY_SECONDS
        for path in self.folder.glob("*.wav"):
            with suppress(OSError):
                if _RECORDING_NAME.fullmatch(path.name) and path.stat().st_mtime < oldest:
                    path.unlink()
                    log_event(log, logging.INFO, "recording.removed", recording=path.name)

    async def close(self) -> None:
        """Finish pending writes and close all open files."""
        if self._thread is not None:
            for recording in self._open_recordings:
                recording.close()
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Recording:
    """One session's WAV file, 16 kHz, mono, 16 bits; its header is valid after every write.

    Args:
        path: The file.
        submit_job: Queues a job for the writer's thread.
        on_failed: Called once, on the event loop, if the file cannot be written.
    """

    def __init__(
        self, path: Path, submit_job: Callable[[Callable[[], None]], None], on_failed: Callable[[], None]
    ) -> None:
        self._path = path
        self._submit_job = submit_job
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._raw_file: BufferedWriter | None = None
        self._wave_file: wave.Wave_write | None = None
        self._pending_writes = 0
        self._has_failed = False

    @property
    def name(self) -> str:
        """The file name."""
        return self._path.name

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1."""
        if self._has_failed or not len(audio):
            return
        if self._pending_writes >= _MAX_PENDING_WRITES:
            self._mark_failed()
            return
        self._pending_writes += 1
        self._submit_job(lambda: self._run_guarded(lambda: self._append_audio(audio)))

    def discard_audio(self) -> None:
        """Delete the file; later audio starts a new file."""
        self._submit_job(lambda: self._run_guarded(self._remove_file))

    def close(self) -> None:
        """Close the file after the pending writes."""
        self._submit_job(lambda: self._run_guarded(self._close_file))

    def _mark_failed(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            log_event(log, logging.WARNING, "recording.failed", recording=self.name)
            self._on_failed()

    # ---- on the writer's thread

    def _run_guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # noqa: BLE001  # a job in the writer, which writes for all sessions
            with suppress(Exception):
                self._close_file()
            call_soon_threadsafe(self._loop, self._mark_failed)

    def _append_audio(self, audio: NDArray[np.float32]) -> None:
        call_soon_threadsafe(self._loop, self._on_written)
        if self._has_failed:
            return
        if self._raw_file is None or self._wave_file is None:
            self._raw_file, self._wave_file = self._create_file()
        samples = np.clip(np.rint(audio * 32767.0), -32768, 32767).astype("<i2")
        self._wave_file.writeframes(samples.tobytes())  # also updates the header
        self._raw_file.flush()

    def _create_file(self) -> tuple[BufferedWriter, wave.Wave_write]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        raw = self._path.open("wb")
        file = wave.open(raw, "wb")  # noqa: SIM115  # closed by ``_close_file``
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(DIARIZATION_SAMPLE_RATE)
        return raw, file

    def _on_written(self) -> None:
        self._pending_writes -= 1

    def _remove_file(self) -> None:
        self._close_file()
        self._path.unlink(missing_ok=True)

    def _close_file(self) -> None:
        raw, file = self._raw_file, self._wave_file
        self._raw_file = self._wave_file = None
        try:
            if file is not None:
                file.close()
        finally:
            if raw is not None:
                raw.close()
