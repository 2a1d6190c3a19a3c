"""Sound from a microphone, by sounddevice (PortAudio), which is imported only here."""

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

#: Samples per second that are asked for; a device that has none of it is heard at its own rate.
_PREFERRED_RATE = 16_000
#: Seconds of sound in a message.
_PIECE_SECONDS = 0.1
#: Seconds without sound after which a device counts as lost: PortAudio does not always say.
_SILENCE_TIMEOUT = 3.0
_PORTAUDIO_INSTALL = {
    "linux": "apt-get install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)",
    "darwin": "brew install portaudio",
}
_STDIN_HINT = "Without one: echoic listen - takes sound from a pipe."


class MicrophoneUnavailable(Exception):
    """There is none that can be used; the message is a sentence with what helps."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that can be listened to.

    Attributes:
        number: What PortAudio calls it by.
        name: Its name.
        channels: How many it has.
        rate: Its own samples per second.
        is_default: Whether it is taken when none is named.
    """

    number: int
    name: str
    channels: int
    rate: int
    is_default: bool


class Microphone:
    """A device that was found and can be listened to.

    Args:
        device: Its number, or a part of its name; None: the system's default.

    Raises:
        NoMicrophone: There is none, or sounddevice or PortAudio is missing.
    """

    def __init__(self, device: str | None = None) -> None:
        self._sounddevice = _import_sounddevice()
        self._device = int(device) if device is not None and device.isdecimal() else device
        try:
            self._device_info = dict(self._sounddevice.query_devices(self._device, "input"))
        except (self._sounddevice.PortAudioError, ValueError):
            raise MicrophoneUnavailable(_render_not_found(device)) from None
        #: Samples per second that it gives.
        self.rate = (
            _PREFERRED_RATE
            if self._can_record_at(_PREFERRED_RATE)
            else round(float(self._device_info["default_samplerate"]))
        )

    @property
    def name(self) -> str:
        """What the system calls it."""
        return str(self._device_info["name"])

    async def read_pieces(self, on_started: Callable[[], None]) -> AsyncGenerator[NDArray[np.float32], None]:
        """Yield what is heard, until it is lost.

        Args:
            on_started: Called when it is listened to.

        Yields:
            float32, shape ``(n,)``, mono, at ``rate``.

        Raises:
            UnreadableAudio: It cannot be opened, or gives no sound any more.
        """
        inbox: asyncio.Queue[NDArray[np.float32] | None] = asyncio.Queue()
        try:
            with self._open_stream(inbox):
                on_started()
                while (piece := await _wait_for_piece(inbox)) is not None:
                    yield piece
        except self._sounddevice.PortAudioError as error:
            # Its text is PortAudio's, about the device, in English: "Device unavailable", say.
            reason = str(error.args[0]).rstrip(".") if error.args else "no reason given"
            raise UnreadableAudio(f"{self.name} cannot be listened to: {reason}.") from None
        raise UnreadableAudio(f"{self.name} gives no sound any more; what was heard is here.")

    def _open_stream(self, inbox: asyncio.Queue[NDArray[np.float32] | None]) -> "sounddevice.InputStream":
        loop = asyncio.get_running_loop()

        def put(piece: NDArray[np.float32] | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(inbox.put_nowait, piece)

        def hear(sound: NDArray[np.float32], _frames: int, _time: object, _status: object) -> None:
            put(sound[:, 0].copy())  # PortAudio uses the array again

        return self._sounddevice.InputStream(
            device=self._device,
            channels=1,
            samplerate=self.rate,
            blocksize=round(_PIECE_SECONDS * self.rate),
            dtype="float32",
            callback=hear,
            finished_callback=lambda: put(None),
        )

    def _can_record_at(self, rate: int) -> bool:
        try:
            self._sounddevice.check_input_settings(self._device, channels=1, dtype="float32", samplerate=rate)
        except (self._sounddevice.PortAudioError, ValueError):
            return False
        return True


def query_devices() -> list[InputDevice]:
    """Return the devices that can be listened to.

    Raises:
        NoMicrophone: sounddevice or PortAudio is missing.
    """
    sound = _import_sounddevice()
    default = sound.default.device[0]
    return [
        InputDevice(
            number,
            str(info["name"]),
            int(info["max_input_channels"]),
            round(float(info["default_samplerate"])),
            number == default,
        )
        for number, info in enumerate(sound.query_devices())
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
    except OSError:  # so it says that PortAudio is missing
        how = _PORTAUDIO_INSTALL.get(sys.platform, "pip install --force-reinstall sounddevice")
        raise MicrophoneUnavailable(
            f"The microphone needs the library PortAudio: {how}. {_STDIN_HINT}"
        ) from None
    return sounddevice


def _render_not_found(device: str | None) -> str:
    if device is None:
        return f"There is no microphone here. {_STDIN_HINT}"
    return f"No microphone, or more than one, is called {device!r}: echoic listen --list-devices names them."
