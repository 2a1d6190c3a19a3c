"""Turns of a talk with a voice agent: when the user falls silent, commit, and answer what was said.

The end of a turn is heard here, by the detector that comes with echoic, so no round trip is waited for.
Put your own ``reply`` in, and a microphone (see microphone.py) in place of the file.

Start a server (``echoic serve``), then: ``python examples/voice_agent.py FILE``.
"""

import asyncio
import sys
import time
from pathlib import Path

from echoic.audio.vad import UtteranceDetector, VadConfig
from echoic.client import ServerError, Stream, UnreadableAudio, connect
from echoic.client.pacing import CHUNK_SECONDS, pace_audio
from echoic.engines.silero import SAMPLE_RATE, SileroModel
from echoic.media import read_audio

SERVER = "ws://127.0.0.1:8000"
#: Seconds of silence that end a turn: less answers sooner, and interrupts more.
PAUSE = 0.6


def reply(text: str) -> str:
    """Answer a turn; yours asks a language model."""
    return f"You said {len(text.split())} words."


async def answer(stream: Stream, silent: float) -> None:
    """Take the turn that has ended, ``silent`` seconds after its last word."""
    begun = time.perf_counter()
    text = await stream.commit()
    late = time.perf_counter() - begun
    stream.frames()  # all of it is in the text
    if text:
        waited = f"{silent * 1000:.0f} ms pause + {late * 1000:.0f} ms"
        print(f"user:  {text}\nagent: {reply(text)}  [{waited}]", flush=True)


async def main(file: Path, server: str) -> None:
    """Let a file talk to the agent."""
    ear = UtteranceDetector(SileroModel().build_detector(), VadConfig(pause_seconds=PAUSE))
    async with connect(server, sample_rate=SAMPLE_RATE, enable_partial=False) as stream:
        async for piece in pace_audio(read_audio(file, SAMPLE_RATE, CHUNK_SECONDS), SAMPLE_RATE):
            await stream.send(piece)
            ear.push(piece)
            silent = ear.trailing_silence / SAMPLE_RATE
            # A long speech is cut into utterances too, and is no turn yet.
            if silent >= PAUSE and any(utterance.end for utterance in ear.utterances):
                ear.discard_before(ear.consumed)
                await answer(stream, silent)
        await answer(stream, ear.trailing_silence / SAMPLE_RATE)  # who hangs up has spoken too


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(f"Usage: python {sys.argv[0]} FILE [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else SERVER))
    except (ServerError, UnreadableAudio) as error:
        sys.exit(str(error))
