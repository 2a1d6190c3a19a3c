"""Prints live captions of a file: final words plain, provisional words in brackets.

Start a server (``echoic serve``), then: ``python examples/captions.py FILE``.
"""

import asyncio
import sys
from pathlib import Path

from echoic.client import Final, Partial, ServerError, Stream, UnreadableAudio, connect

SERVER = "ws://127.0.0.1:8000"


async def send_audio(stream: Stream, file: Path) -> None:
    """Send the file at the pace of speech, then finalize the rest."""
    await stream.send_file(file, speed=1.0)
    await stream.stop()


async def main(file: Path, server: str) -> None:
    """Print captions while the file plays."""
    async with connect(server, chunk_duration=2.0) as stream, asyncio.TaskGroup() as tasks:
        tasks.create_task(send_audio(stream, file))
        async for frame in stream:
            match frame:
                case Partial(text=text):
                    print(f"\r[{text}]", end="\033[K", flush=True)
                case Final(text=text, segment_start=start):
                    print(f"\r{start:6.1f} s  {text}", end="\033[K\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(f"Usage: python {sys.argv[0]} FILE [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else SERVER))
    except* (ServerError, UnreadableAudio, ValueError) as group:
        sys.exit(" ".join(str(error) for error in group.exceptions))
