"""A fake of sounddevice whose microphone plays a file; configured by environment variables.

``FAKE_MICROPHONE`` is a file of raw little-endian float32 at 16 kHz. ``FAKE_AFTERWARDS`` is what happens at
its end: ``silence`` (the default), ``lost`` (PortAudio reports it) or ``mute`` (it does not). ``FAKE_RATE``
is the device's only rate, ``FAKE_SPEED`` the playback speed, and ``FAKE_TROUBLE`` a failure:
``no-portaudio``, ``no-device`` or ``busy``.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_TROUBLE = os.environ.get("FAKE_TROUBLE", "")
_RATE = int(os.environ.get("FAKE_RATE", "16000"))
#: The playback speed; 1 is the pace of speech.
_SPEED = float(os.environ.get("FAKE_SPEED", "4"))
_NAMES = ("Speakers", "Built-in Microphone", "Mikrofon für Gäste")

if _TROUBLE == "no-portaudio":
    raise OSError("PortAudio library not found")


class PortAudioError(Exception):
    """An error of PortAudio: a text and a code."""


class _Default:
    device = (-1 if _TROUBLE == "no-device" else 1, 0)


default = _Default()


def query_devices(device: int | str | None = None, kind: str | None = None) -> Any:  # noqa: ANN401
    devices = [
        {
            "name": name,
            "index": number,
            "max_input_channels": 0 if name == "Speakers" else 2,
            "default_samplerate": float(_RATE),
        }
        for number, name in enumerate(_NAMES)
    ]
    if _TROUBLE == "no-device":
        devices = devices[:1]
    if device is None and kind is None:
        return devices
    if device is None:
        device = default.device[0]
    if isinstance(device, str):
        found = [one for one in devices if device.lower() in str(one["name"]).lower()]
        if len(found) != 1:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]
    if not 0 <= device < len(devices):
        raise PortAudioError(f"Error querying device {device}")
    if not devices[device]["max_input_channels"]:
        raise ValueError(f"Not an input device: {devices[device]['name']!r}")
    return devices[device]


def check_input_settings(
    device: int | str | None = None,
    channels: int | None = None,
    dtype: str | None = None,
    extra_settings: object = None,
    samplerate: float | None = None,
) -> None:
    assert (channels, dtype, extra_settings) == (1, "float32", None)
    query_devices(device, "input")
    if samplerate != _RATE:
        raise PortAudioError("Invalid sample rate", -9997)


class InputStream:
    """Calls back from a thread with an array that is reused, faster than the pace of speech."""

    def __init__(  # noqa: PLR0913, PLR0917  # as in sounddevice
        self,
        samplerate: float | None = None,
        blocksize: int | None = None,
        device: int | str | None = None,
        channels: int | None = None,
        dtype: str | None = None,
        callback: Callable[[NDArray[np.float32], int, object, object], None] | None = None,
        finished_callback: Callable[[], None] | None = None,
    ) -> None:
        check_input_settings(device, channels, dtype, None, samplerate)
        if _TROUBLE == "busy":
            raise PortAudioError("Error opening InputStream: Device unavailable", -9985)
        assert callback is not None
        assert blocksize
        self._size, self._callback, self._finished = blocksize, callback, finished_callback
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        samples = np.fromfile(os.environ["FAKE_MICROPHONE"], "<f4")
        if _RATE != 16_000:
            samples = np.repeat(samples, _RATE // 16_000)
        block = np.zeros((self._size, 1), np.float32)
        at, afterwards = 0, os.environ.get("FAKE_AFTERWARDS", "silence")
        while not self._stopped.wait(self._size / _RATE / _SPEED):
            part = samples[at : at + self._size]
            at += self._size
            if not len(part) and afterwards == "lost":
                break
            if not len(part) and afterwards == "mute":
                self._stopped.wait()
                break
            block[:] = 0
            block[: len(part), 0] = part
            self._callback(block, self._size, None, None)
        if self._finished is not None:
            self._finished()
