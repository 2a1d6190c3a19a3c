"""Many recordings: a few at a time, a text file beside each, and one that is broken stops no other.

Start a server (``echoic serve``), then: ``python examples/batch.py FILE...``; ECHOIC_URL names another.
"""

import asyncio
import os
import sys
from pathlib import Path

from echoic.client import ServerError, UnreadableAudio, transcribe
from echoic.export.formats import render

SERVER = os.environ.get("ECHOIC_URL", "ws://127.0.0.1:8000")
#: Streams at the same time: no more than your tier allows.
AT_ONCE = 3
#: Seconds for which a busy server is asked again, as often as it advises.
PATIENCE = 600.0


async def write(file: Path, turn: asyncio.Semaphore) -> bool:
    """Write a recording's text beside it; return whether that was possible."""
    text = file.with_name(f"{file.name}.txt")
    try:
        async with turn:
            finals = await transcribe(SERVER, file, patience=PATIENCE)
        text.write_text(render(finals, "txt"), "utf-8")
    except (ServerError, UnreadableAudio, OSError) as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return False
    print(text)
    return True


async def main(files: list[Path]) -> int:
    """Transcribe all of them; return the exit code."""
    turn = asyncio.Semaphore(AT_ONCE)
    return 0 if all(await asyncio.gather(*(write(file, turn) for file in files))) else 1


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.stderr.write(
            f"Usage: python {sys.argv[0]} FILE...; ECHOIC_URL names the server if not {SERVER}.\n"
        )
        sys.exit(2)
    sys.exit(asyncio.run(main([Path(name) for name in sys.argv[1:]])))
