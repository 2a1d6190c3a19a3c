"""Reads audio from a microphone with sounddevice (PortAudio)."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoic.client import UnreadableAudio

if TYPE_CHECKING:
    import sounddevice

#: The preferred samples per second; a device that does not support it is read at its own rate.
_PREFERRED_RATE = 16_000
#: Seconds of audio in one piece.
_PIECE_SECONDS = 0.1
#: Seconds without audio after which a device counts as lost: PortAudio does not always report it.
_SILENCE_TIMEOUT = 3.0
_PORTAUDIO_INSTALL = {
    "linux": "apt-get install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)",
    "darwin": "brew install portaudio",
}
_STDIN_HINT = "Without a microphone: echoic listen - reads audio from a pipe."


class MicrophoneUnavailable(Exception):
    """No microphone can be used; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device with input channels."""

    #: Its number in PortAudio.
    number: int
    name: str
    #: The number of input channels.
    channels: int
    #: Its default samples per second.
    rate: int
    #: Whether it is the system's default.
    is_default: bool


class Microphone:
    """An input device.

    Args:
        device: Its number, or a part of its name; None: the system's default.

    Raises:
        MicrophoneUnavailable: There is no such device, or sounddevice or PortAudio is not installed.
    """

    def __init__(self, device: str | None = None) -> None:
        self._sounddevice = _import_sounddevice()
        self._device = int(device) if device is not None and device.isdecimal() else device
        try:
            self._device_info = dict(self._sounddevice.query_devices(self._device, "input"))
        except (self._sounddevice.PortAudioError, ValueError):
            raise MicrophoneUnavailable(_render_not_found(device)) from None
        #: Samples per second of the pieces.
        self.rate = (
            _PREFERRED_RATE
            if self._can_record_at(_PREFERRED_RATE)
            else round(float(self._device_info["default_samplerate"]))
        )

    @property
    def name(self) -> str:
        """The name of the device."""
        return str(self._device_info["name"])

    async def read_pieces(self, on_started: Callable[[], None]) -> AsyncGenerator[NDArray[np.float32], None]:
        """Yield audio until the device is lost.

        Args:
            on_started: Called when the device has been opened.

        Yields:
            float32, shape ``(n,)``, mono, -1..1, at ``rate``.

        Raises:
            UnreadableAudio: The device cannot be opened, or delivers no audio any more.
        """
        inbox: asyncio.Queue[NDArray[np.float32] | None] = asyncio.Queue()
        try:
            with self._open_stream(inbox):
                on_started()
                while (piece := await _wait_for_piece(inbox)) is not None:
                    yield piece
        except self._sounddevice.PortAudioError as error:
            # PortAudio's text in English about the device, such as "Device unavailable".
            reason = str(error.args[0]).rstrip(".") if error.args else "no reason given"
            raise UnreadableAudio(f"{self.name} cannot be opened: {reason}.") from None
        raise UnreadableAudio(f"{self.name} delivers no audio any more; the transcript ends here.")

    def _open_stream(self, inbox: asyncio.Queue[NDArray[np.float32] | None]) -> "sounddevice.InputStream":
        loop = asyncio.get_running_loop()

        def put(piece: NDArray[np.float32] | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(inbox.put_nowait, piece)

        def on_audio(samples: NDArray[np.float32], _frames: int, _time: object, _status: object) -> None:
            put(samples[:, 0].copy())  # PortAudio reuses the array

        return self._sounddevice.InputStream(
            device=self._device,
            channels=1,
            samplerate=self.rate,
            blocksize=round(_PIECE_SECONDS * self.rate),
            dtype="float32",
            callback=on_audio,
            finished_callback=lambda: put(None),
        )

    def _can_record_at(self, rate: int) -> bool:
        try:
            self._sounddevice.check_input_settings(self._device, channels=1, dtype="float32", samplerate=rate)
        except (self._sounddevice.PortAudioError, ValueError):
            return False
        return True


def query_devices() -> list[InputDevice]:
    """Return the input devices.

    Raises:
        MicrophoneUnavailable: sounddevice or PortAudio is not installed.
    """
    sounddevice = _import_sounddevice()
    default = sounddevice.default.device[0]
    return [
        InputDevice(
            number,
            str(info["name"]),
            int(info["max_input_channels"]),
            round(float(info["default_samplerate"])),
            number == default,
        )
        for number, info in enumerate(sounddevice.query_devices())
        if info["max_input_channels"] > 0
    ]


async def _wait_for_piece(inbox: asyncio.Queue[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    try:
        async with asyncio.timeout(_SILENCE_TIMEOUT):
            return await inbox.get()
    except TimeoutError:
        return None


def _import_sounddevice() -> Any:  # noqa: ANN401  # it ships no types
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise MicrophoneUnavailable(
            f"The microphone needs sounddevice: pip install 'echoic[microphone]'. {_STDIN_HINT}"
        ) from None
    except OSError:  # raised if PortAudio is missing
        install = _PORTAUDIO_INSTALL.get(sys.platform, "pip install --force-reinstall sounddevice")
        raise MicrophoneUnavailable(
            f"The microphone needs the library PortAudio: {install}. {_STDIN_HINT}"
        ) from None
    return sounddevice


def _render_not_found(device: str | None) -> str:
    if device is None:
        return f"No microphone was found. {_STDIN_HINT}"
    return f"No microphone, or more than one, matches {device!r}. To list them: echoic listen --list-devices"
