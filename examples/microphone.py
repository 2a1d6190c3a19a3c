"""Prints live captions of the microphone until Ctrl-C; ``echoic listen`` does more.

Start a server (``echoic serve``), ``pip install sounddevice``, then: ``python examples/microphone.py``.
"""

import asyncio
import signal
import sys

import numpy as np

from echoic.client import Final, Partial, ServerError, Stream, connect

SERVER = "ws://127.0.0.1:8000"
RATE = 16_000


async def send_audio(stream: Stream, stopped: asyncio.Event) -> None:
    """Send the audio of the microphone until stopped, then finalize the rest."""
    try:
        import sounddevice  # noqa: PLC0415  # optional: only this needs it
    except ImportError:
        raise OSError("The microphone needs sounddevice: pip install sounddevice") from None
    loop, chunks = asyncio.get_running_loop(), asyncio.Queue[np.ndarray]()

    def push_chunk(sound: np.ndarray, *_: object) -> None:  # in a thread of the sound card
        loop.call_soon_threadsafe(chunks.put_nowait, sound.copy())

    try:
        with sounddevice.InputStream(RATE, RATE // 10, channels=1, dtype="float32", callback=push_chunk):
            while not stopped.is_set():
                await stream.send(await chunks.get())
    except sounddevice.PortAudioError as error:
        raise OSError(f"The microphone cannot be used: {error}.") from None
    await stream.stop()


async def main(server: str) -> None:
    """Print captions while you speak."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    async with connect(server, sample_rate=RATE) as stream, asyncio.TaskGroup() as tasks:
        tasks.create_task(send_audio(stream, stopped))
        async for frame in stream:
            match frame:
                case Partial(text=text):
                    print(f"\r[{text}]", end="\033[K", flush=True)
                case Final(text=text):
                    print(f"\r{text}", end="\033[K\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (1, 2):
        sys.stderr.write(f"Usage: python {sys.argv[0]} [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else SERVER))
    except* (ServerError, OSError) as group:
        sys.exit(" ".join(str(error) for error in group.exceptions))
