"""Transcribes a call with one channel for each side: one stream per channel, merged by time.

Start a server (``echoic serve``), then: ``python examples/call.py CALL.wav`` (16-bit).
"""

import asyncio
import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.client import Final, ServerError, transcribe

SERVER = "ws://127.0.0.1:8000"
SIDES = ("Caller", "Agent")


def read_stereo(file: Path) -> tuple[NDArray[np.int16], int]:
    """Return the samples, int16 of shape (n, 2), and the sample rate in Hz."""
    try:
        with wave.open(str(file), "rb") as call:
            layout, rate = (call.getnchannels(), call.getsampwidth()), call.getframerate()
            data = call.readframes(call.getnframes())
    except (wave.Error, EOFError):
        layout = None
    if layout != (len(SIDES), 2):
        raise ValueError(f"{file} is not a 16-bit WAV file with two channels.")
    return np.frombuffer(data, "<i2").reshape(-1, len(SIDES)), rate


def find_start(final: Final) -> float:
    """Return the second of the first word: the segment may begin with silence."""
    words = final.words or ()
    return words[0].start if words else final.segment_start


async def main(file: Path, server: str) -> None:
    """Print the words of both sides in the order of time."""
    samples, rate = read_stereo(file)
    streams = [
        transcribe(server, [channel], sample_rate=rate, word_timestamps=True, retry_seconds=60.0)
        for channel in samples.T
    ]
    transcripts = zip(SIDES, await asyncio.gather(*streams), strict=True)
    turns = sorted((find_start(final), side, final.text) for side, finals in transcripts for final in finals)
    for start, side, text in turns:
        print(f"{start:6.1f} s  {side}: {text}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(f"Usage: python {sys.argv[0]} CALL [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else SERVER))
    except (ServerError, ValueError, OSError) as error:
        sys.exit(str(error))
