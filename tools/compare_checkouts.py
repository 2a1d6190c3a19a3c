"""Compares the finals of two checkouts of echoic, frame by frame.

Each checkout serves with its own environment (`make setup` in both). The same recordings are streamed to both
servers, and every frame that a client receives is compared: texts, times, confidences, transcripts.

    python -m tools.compare_checkouts OLD NEW --recordings FOLDER --model moonshine-tiny-en

Exit status 0: all frames are equal; 1: some differ.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import websockets

SAMPLE_RATE = 16_000
_MESSAGE_SAMPLES = SAMPLE_RATE
_STREAM_PATH = "/api/v1/audio/stream/transcribe"
#: Fields that differ from run to run.
_VOLATILE_FIELDS = {"session_id", "resume_token", "timestamp", "server_version"}
_SUFFIXES = {".flac", ".mp3", ".wav", ".ogg", ".opus", ".m4a"}


def read_samples(path: Path) -> np.ndarray:
    """Return a recording as mono float32 samples at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@contextmanager
def run_server(checkout: Path) -> Iterator[str]:
    """Serve from a checkout on a free port; yield ``host:port``."""
    environment = os.environ | {
        "ECHOIC_MAX_AUDIO_RATE": "0",
        "ECHOIC_FALLING_BEHIND_SECONDS": "100000",
        "ECHOIC_PING_TIMEOUT_SECONDS": "3600",
        "ECHOIC_LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [checkout / ".venv" / "bin" / "echoic", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"wss?://([^/\s]+)/", line):
                yield found[1]
                break
    finally:
        process.terminate()
        process.wait(timeout=60)


async def stream_recording(
    address: str, samples: np.ndarray, config: dict[str, object]
) -> list[dict[str, object]]:
    """Stream one recording and return all frames that came back, without the fields that vary."""
    frames: list[dict[str, object]] = []
    async with websockets.connect(
        f"ws://{address}{_STREAM_PATH}", max_size=None, ping_interval=None
    ) as socket:

        async def receive() -> None:
            async for message in socket:
                frame = json.loads(message)
                if frame["type"] not in ("pong", "status", "warning"):
                    frames.append({k: v for k, v in frame.items() if k not in _VOLATILE_FIELDS})

        receiving = asyncio.create_task(receive())
        await socket.send(
            json.dumps({"type": "config", "sample_rate": SAMPLE_RATE, "enable_partial": False} | config)
        )
        for start in range(0, len(samples), _MESSAGE_SAMPLES):
            data = samples[start : start + _MESSAGE_SAMPLES].astype("<f4").tobytes()
            await socket.send(json.dumps({"type": "audio", "data": base64.b64encode(data).decode()}))
        await socket.send(json.dumps({"type": "stop"}))
        await receiving
    return frames


async def compare(old: str, new: str, recordings: list[Path], models: list[str]) -> int:
    """Stream each recording to both servers; print each difference; return how many recordings differ."""
    different = 0
    finals = 0
    for model in models:
        config: dict[str, object] = {"model": model, "word_timestamps": True}
        for path in recordings:
            samples = read_samples(path)
            before, after = await asyncio.gather(
                stream_recording(old, samples, config), stream_recording(new, samples, config)
            )
            finals += sum(frame["type"] == "final" for frame in before)
            if before != after:
                different += 1
                print(f"{model} {path.name}: differs", flush=True)
                for left, right in zip(before, after, strict=False):
                    if left != right:
                        print("  -", json.dumps(left)[:300], "\n  +", json.dumps(right)[:300])
                        break
        print(
            f"{model}: {len(recordings)} recordings, {finals} finals so far, {different} differ", flush=True
        )
    return different


def main() -> int:
    """Run the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="a checkout with its own .venv")
    parser.add_argument("new", type=Path, help="the checkout to compare with it")
    parser.add_argument("--recordings", type=Path, required=True, help="a folder of audio files")
    parser.add_argument("--model", action="append", required=True, help="may be given several times")
    parser.add_argument("--most-seconds", type=float, default=0.0, help="skip longer recordings; 0: none")
    options = parser.parse_args()
    recordings = sorted(path for path in options.recordings.iterdir() if path.suffix in _SUFFIXES)
    if options.most_seconds:
        recordings = [p for p in recordings if len(read_samples(p)) <= options.most_seconds * SAMPLE_RATE]
    with run_server(options.old) as old, run_server(options.new) as new:
        return 1 if asyncio.run(compare(old, new, recordings, options.model)) else 0


if __name__ == "__main__":
    sys.exit(main())
