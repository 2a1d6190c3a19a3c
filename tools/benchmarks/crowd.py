"""A crowd of streams in a process of its own: ``python -m tools.benchmarks.crowd URL STREAMS SECONDS``.

It prints one line of JSON once all are connected, and one with what came of them at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tools.benchmarks.streams import STEP, StreamScript, draw_script, stream_script


def main() -> None:
    """Speak, all at once and in real time, and print the outcome."""
    url, streams, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(asyncio.run(run_crowd(url, streams, seconds))), flush=True)


async def run_crowd(url: str, streams: int, seconds: float) -> dict[str, object]:
    """Return the crowd's delays in seconds, its missed finals, and how many transcripts were wrong."""
    said = [draw_script(seconds, seed) for seed in range(streams)]
    scripts = [StreamScript(audio, wait=STEP * number / streams) for number, (_, audio) in enumerate(said)]
    heard = await asyncio.gather(*(stream_script(url, script) for script in scripts))
    return {
        "delays": [delay for one in heard for delay in one.delays],
        "due": sum(len(one.due) for one in heard),
        "missed": sum(one.missed for one in heard),
        "wrong": sum(" ".join(one.texts) != text for one, (text, _) in zip(heard, said, strict=True)),
        "errors": sum(len(one.codes) for one in heard),
    }


if __name__ == "__main__":
    main()
