"""A stand-in for the library sounddevice: its microphone plays a file, named by the environment.

``FAKE_MICROPHONE`` is a file of raw little-endian float32 at 16 kHz; ``FAKE_AFTERWARDS`` says what happens
at its end: ``silence`` (the default), ``lost`` (PortAudio says so) or ``mute`` (it does not). ``FAKE_RATE``
is the device's only rate; ``FAKE_TROUBLE`` names what is wrong: ``no-portaudio``, ``no-device``, ``busy``.
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
#: How many times as fast as it was spoken it is heard: nobody waits for it.
_SPEED = 4
_NAMES = ("Speakers", "Built-in Microphone", "Mikrofon für Gäste")

if _TROUBLE == "no-portaudio":
    raise OSError("PortAudio library not found")


class PortAudioError(Exception):
    """As the real one: a text and a code."""


class _Default:
    device = (-1 if _TROUBLE == "no-device" else 1, 0)


default = _Default()


def query_devices(device: int | str | None = None, kind: str | None = None) -> Any:  # noqa: ANN401
    every = [
        {
            "name": name,
            "index": number,
            "max_input_channels": 0 if name == "Speakers" else 2,
            "default_samplerate": float(_RATE),
        }
        for number, name in enumerate(_NAMES)
    ]
    if _TROUBLE == "no-device":
        every = every[:1]
    if device is None and kind is None:
        return every
    if device is None:
        device = default.device[0]
    if isinstance(device, str):
        found = [one for one in every if device.lower() in str(one["name"]).lower()]
        if len(found) != 1:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]
    if not 0 <= device < len(every):
        raise PortAudioError(f"Error querying device {device}")
    if not every[device]["max_input_channels"]:
        raise ValueError(f"Not an input device: {every[device]['name']!r}")
    return every[device]


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
    """Calls back from a thread of its own, with an array that it uses again, faster than it sounds."""

    def __init__(  # noqa: PLR0913, PLR0917  # as the real one
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
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        sound = np.fromfile(os.environ["FAKE_MICROPHONE"], "<f4")
        if _RATE != 16_000:
            sound = np.repeat(sound, _RATE // 16_000)
        block = np.zeros((self._size, 1), np.float32)
        at, afterwards = 0, os.environ.get("FAKE_AFTERWARDS", "silence")
        while not self._over.wait(self._size / _RATE / _SPEED):
            part = sound[at : at + self._size]
            at += self._size
            if not len(part) and afterwards == "lost":
                break
            if not len(part) and afterwards == "mute":
                self._over.wait()
                break
            block[:] = 0
            block[: len(part), 0] = part
            self._callback(block, self._size, None, None)
        if self._finished is not None:
            self._finished()
