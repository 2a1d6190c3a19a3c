"""Transcribes recordings, a few at a time, to a text file beside each; a bad file does not stop the others.

Start a server (``echoic serve``), then: ``python examples/batch.py FILE...``; ECHOIC_URL: another server.
"""

import asyncio
import os
import sys
from pathlib import Path

from echoic.client import ServerError, UnreadableAudio, transcribe
from echoic.export.formats import render

SERVER = os.environ.get("ECHOIC_URL", "ws://127.0.0.1:8000")
#: Concurrent streams: no more than your tier allows.
MAX_STREAMS = 3
#: Seconds for which a busy server is retried, as often as it advises.
RETRY_SECONDS = 600.0


async def transcribe_to_file(file: Path, slots: asyncio.Semaphore) -> bool:
    """Transcribe a recording to a text file beside it; return whether that worked."""
    text = file.with_name(f"{file.name}.txt")
    try:
        async with slots:
            finals = await transcribe(SERVER, file, retry_seconds=RETRY_SECONDS)
        text.write_text(render(finals, "txt"), "utf-8")
    except (ServerError, UnreadableAudio, OSError) as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return False
    print(text)
    return True


async def main(files: list[Path]) -> int:
    """Transcribe all files; return the exit code."""
    slots = asyncio.Semaphore(MAX_STREAMS)
    return 0 if all(await asyncio.gather(*(transcribe_to_file(file, slots) for file in files))) else 1


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.stderr.write(
            f"Usage: python {sys.argv[0]} FILE...; ECHOIC_URL names the server if not {SERVER}.\n"
        )
        sys.exit(2)
    sys.exit(asyncio.run(main([Path(name) for name in sys.argv[1:]])))
