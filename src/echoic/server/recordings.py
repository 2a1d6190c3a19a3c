"""Sessions' audio on disk, for those who asked for it: one folder, one writer, and an end to it."""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import threading
import time
import wave
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from echoic.schedule.blocking import call_on
from echoic.server.log import event
from echoic.session.sound import SOUND_RATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

#: The names of recordings: those of streams.
_NAME: Final = re.compile(r"[0-9a-f]{12}\.wav")
#: Pieces of audio of one session that may wait for the disk; a minute or so.
_MOST_WAITING: Final = 64
#: Seconds from one look for old files to the next.
_SWEEP: Final = 3600.0
_DAY: Final = 86_400.0
#: Seconds that the end of the server waits for the disk.
_CLOSING: Final = 5.0


class Recordings:
    """The folder of all sessions' audio. One thread writes, so that a slow disk holds up no stream.

    Args:
        folder: Made if it is missing, readable by its owner alone.
        days: After so many a file is removed; 0: never.
    """

    def __init__(self, folder: Path, days: float = 7.0) -> None:
        self.folder = folder
        self._days = days
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open: weakref.WeakSet[Recording] = weakref.WeakSet()

    def open(self, name: str, failed: Callable[[], None]) -> Recording:
        """Return a session's recording; nothing is written before there is audio.

        Args:
            name: Its file's.
            failed: Called once, on the event loop, if it cannot be written.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="echoic-recordings", daemon=True)
            self._thread.start()
        recording = Recording(self.folder / name, self._jobs.put, failed)
        self._open.add(recording)
        return recording

    async def run(self) -> None:
        """Remove old files until cancelled."""
        while True:
            await asyncio.to_thread(self.sweep)
            await asyncio.sleep(_SWEEP)

    def sweep(self) -> None:
        """Remove the recordings that are too old, and nothing else that lies there."""
        if not self._days:
            return
        oldest = time.time() - self._days * _DAY
        for path in self.folder.glob("*.wav"):
            with suppress(OSError):
                if _NAME.fullmatch(path.name) and path.stat().st_mtime < oldest:
                    path.unlink()
                    event(log, logging.INFO, "recording.removed", recording=path.name)

    async def close(self) -> None:
        """Write what waits, and close what is open."""
        if self._thread is not None:
            for recording in self._open:
                recording.close()
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _CLOSING)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Recording:
    """One session's audio: WAV, 16 kHz, mono, 16 bits; whole at every moment.

    Args:
        path: Where.
        put: Takes a job for the writer's thread.
        failed: Called once, on the event loop, if it cannot be written.
    """

    def __init__(
        self, path: Path, put: Callable[[Callable[[], None]], None], failed: Callable[[], None]
    ) -> None:
        self._path = path
        self._put = put
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._raw: BufferedWriter | None = None
        self._file: wave.Wave_write | None = None
        self._waiting = 0
        self._lost = False

    @property
    def name(self) -> str:
        """Its file's name."""
        return self._path.name

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1."""
        if self._lost or not len(audio):
            return
        if self._waiting >= _MOST_WAITING:
            self._lose()
            return
        self._waiting += 1
        self._put(lambda: self._guarded(lambda: self._append(audio)))

    def erase(self) -> None:
        """Throw away what was written; what comes is written from the beginning."""
        self._put(lambda: self._guarded(self._remove))

    def close(self) -> None:
        """Write nothing more."""
        self._put(lambda: self._guarded(self._end))

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            event(log, logging.WARNING, "recording.failed", recording=self.name)
            self._failed()

    # ---- on the writer's thread

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # noqa: BLE001  # a job in the writer, which writes for all sessions
            with suppress(Exception):
                self._end()
            call_on(self._loop, self._lose)

    def _append(self, audio: NDArray[np.float32]) -> None:
        call_on(self._loop, self._written)
        if self._lost:
            return
        if self._raw is None or self._file is None:
            self._raw, self._file = self._begin()
        samples = np.clip(np.rint(audio * 32767.0), -32768, 32767).astype("<i2")
        self._file.writeframes(samples.tobytes())  # and mends the header
        self._raw.flush()

    def _begin(self) -> tuple[BufferedWriter, wave.Wave_write]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        raw = self._path.open("wb")
        file = wave.open(raw, "wb")  # noqa: SIM115  # closed by ``_end``
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        return raw, file

    def _written(self) -> None:
        self._waiting -= 1

    def _remove(self) -> None:
        self._end()
        self._path.unlink(missing_ok=True)

    def _end(self) -> None:
        raw, file = self._raw, self._file
        self._raw = self._file = None
        try:
            if file is not None:
                file.close()
        finally:
            if raw is not None:
                raw.close()
