"""Stands in for ffmpeg, arecord and sox where ``talk.mp4`` is to be turned into a stream of sound.

It understands what they are told of the sound that is to come out: rate, channels, coding.
"""

from __future__ import annotations

import sys
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np

from echoic.media import read_audio


def main() -> None:
    """Write the sound to standard output, as the arguments say."""
    told = dict(pairwise(sys.argv))
    rate = int(told.get("-ar") or told.get("-r") or 8000)
    channels = int(told.get("-ac") or told.get("-c") or 1)
    samples = np.repeat(np.concatenate(list(read_audio("talk.mp4", rate))), channels)
    whole = np.rint(samples * 32767).astype("<i2").tobytes()
    if told.get("-t") == "wav":
        with wave.open("talk.wav", "wb") as out:
            out.setnchannels(channels)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(whole)
        sys.stdout.buffer.write(Path("talk.wav").read_bytes())
    else:
        sys.stdout.buffer.write(samples.astype("<f4").tobytes() if told.get("-e") == "float" else whole)


if __name__ == "__main__":
    main()
