"""Stands in for ffmpeg, arecord and sox: writes the audio of ``talk.mp4`` to standard output.

It understands their options for sample rate, channels and encoding.
"""

from __future__ import annotations

import sys
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np

from echoic.media import read_audio


def main() -> None:
    """Write the audio in the format that the arguments name."""
    options = dict(pairwise(sys.argv))
    rate = int(options.get("-ar") or options.get("-r") or 8000)
    channels = int(options.get("-ac") or options.get("-c") or 1)
    samples = np.repeat(np.concatenate(list(read_audio("talk.mp4", rate))), channels)
    whole = np.rint(samples * 32767).astype("<i2").tobytes()
    if options.get("-t") == "wav":
        with wave.open("talk.wav", "wb") as out:
            out.setnchannels(channels)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(whole)
        sys.stdout.buffer.write(Path("talk.wav").read_bytes())
    else:
        sys.stdout.buffer.write(samples.astype("<f4").tobytes() if options.get("-e") == "float" else whole)


if __name__ == "__main__":
    main()
