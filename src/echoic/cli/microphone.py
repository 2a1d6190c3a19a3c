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
_RATE = 16_000
#: Seconds of sound in a message.
_PIECE = 0.1
#: Seconds without sound after which a device counts as lost: PortAudio does not always say.
_PATIENCE = 3.0
_NO_PORTAUDIO = {
    "linux": "apt-get install libportaudio2 (Debian, Ubuntu), dnf install portaudio (Fedora)",
    "darwin": "brew install portaudio",
}
_WITHOUT = "Without one: echoic listen - takes sound from a pipe."


class NoMicrophone(Exception):
    """There is none that can be used; the message is a sentence with what helps."""


@dataclass(frozen=True, slots=True)
class Device:
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
        wanted: Its number, or a part of its name; None: the system's default.

    Raises:
        NoMicrophone: There is none, or sounddevice or PortAudio is missing.
    """

    def __init__(self, wanted: str | None = None) -> None:
        self._sound = _library()
        self._device = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
        try:
            self._info = dict(self._sound.query_devices(self._device, "input"))
        except (self._sound.PortAudioError, ValueError):
            raise NoMicrophone(_none_found(wanted)) from None
        #: Samples per second that it gives.
        self.rate = _RATE if self._takes(_RATE) else round(float(self._info["default_samplerate"]))

    @property
    def name(self) -> str:
        """What the system calls it."""
        return str(self._info["name"])

    async def pieces(self, begun: Callable[[], None]) -> AsyncGenerator[NDArray[np.float32], None]:
        """Yield what is heard, until it is lost.

        Args:
            begun: Called when it is listened to.

        Yields:
            float32, shape ``(n,)``, mono, at ``rate``.

        Raises:
            UnreadableAudio: It cannot be opened, or gives no sound any more.
        """
        inbox: asyncio.Queue[NDArray[np.float32] | None] = asyncio.Queue()
        try:
            with self._open(inbox):
                begun()
                while (piece := await _next(inbox)) is not None:
                    yield piece
        except self._sound.PortAudioError as error:
            # Its text is PortAudio's, about the device, in English: "Device unavailable", say.
            reason = str(error.args[0]).rstrip(".") if error.args else "no reason given"
            raise UnreadableAudio(f"{self.name} cannot be listened to: {reason}.") from None
        raise UnreadableAudio(f"{self.name} gives no sound any more; what was heard is here.")

    def _open(self, inbox: asyncio.Queue[NDArray[np.float32] | None]) -> "sounddevice.InputStream":
        loop = asyncio.get_running_loop()

        def put(piece: NDArray[np.float32] | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(inbox.put_nowait, piece)

        def hear(sound: NDArray[np.float32], _frames: int, _time: object, _status: object) -> None:
            put(sound[:, 0].copy())  # PortAudio uses the array again

        return self._sound.InputStream(
            device=self._device,
            channels=1,
            samplerate=self.rate,
            blocksize=round(_PIECE * self.rate),
            dtype="float32",
            callback=hear,
            finished_callback=lambda: put(None),
        )

    def _takes(self, rate: int) -> bool:
        try:
            self._sound.check_input_settings(self._device, channels=1, dtype="float32", samplerate=rate)
        except (self._sound.PortAudioError, ValueError):
            return False
        return True


def devices() -> list[Device]:
    """Return the devices that can be listened to.

    Raises:
        NoMicrophone: sounddevice or PortAudio is missing.
    """
    sound = _library()
    default = sound.default.device[0]
    return [
        Device(
            number,
            str(info["name"]),
            int(info["max_input_channels"]),
            round(float(info["default_samplerate"])),
            number == default,
        )
        for number, info in enumerate(sound.query_devices())
        if info["max_input_channels"] > 0
    ]


async def _next(inbox: asyncio.Queue[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await inbox.get()
    except TimeoutError:
        return None


def _library() -> Any:  # noqa: ANN401  # it ships no types
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise NoMicrophone(
            f"The microphone needs sounddevice: pip install 'echoic[microphone]'. {_WITHOUT}"
        ) from None
    except OSError:  # so it says that PortAudio is missing
        how = _NO_PORTAUDIO.get(sys.platform, "pip install --force-reinstall sounddevice")
        raise NoMicrophone(f"The microphone needs the library PortAudio: {how}. {_WITHOUT}") from None
    return sounddevice


def _none_found(wanted: str | None) -> str:
    if wanted is None:
        return f"There is no microphone here. {_WITHOUT}"
    return f"No microphone, or more than one, is called {wanted!r}: echoic listen --list-devices names them."
