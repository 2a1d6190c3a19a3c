"""Prints captions without an event loop: every call blocks until it is done.

Start a server (``echoic serve``), then: ``python examples/blocking.py FILE``.
"""

import sys
from pathlib import Path

from echoic.client import Final, ReceivedFrame, ServerError, UnreadableAudio
from echoic.client.blocking import connect
from echoic.media import read_audio

SERVER = "ws://127.0.0.1:8000"


def print_final(frame: ReceivedFrame) -> None:
    """Print a final."""
    if isinstance(frame, Final):
        print(f"{frame.segment_start:6.1f} s  {frame.text}", flush=True)


def main(file: Path, server: str) -> None:
    """Send a file in chunks and print the finals received so far after each."""
    with connect(server, enable_partial=False) as stream:
        for chunk in read_audio(file):
            stream.send(chunk)
            for frame in stream.frames():  # does not wait
                print_final(frame)
        stream.stop()
        for frame in stream:  # the rest
            print_final(frame)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(f"Usage: python {sys.argv[0]} FILE [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else SERVER)
    except (ServerError, UnreadableAudio) as error:
        sys.exit(str(error))
