"""Takes turns with a voice agent: commits when the user falls silent, and answers.

The end of a turn is detected here, by the speech detector that comes with echoic, without a round trip.
Replace ``reply`` by your own, and the file by a microphone (see microphone.py).

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
#: Seconds of silence that end a turn (endpointing): fewer answer sooner, and interrupt more.
PAUSE = 0.6


def reply(text: str) -> str:
    """Answer a turn; yours asks a language model."""
    return f"You said {len(text.split())} words."


async def answer(stream: Stream, silent: float) -> None:
    """Answer the turn that ended ``silent`` seconds ago."""
    started = time.perf_counter()
    text = await stream.commit()
    delay = time.perf_counter() - started
    stream.frames()  # drops them: the text has all words
    if text:
        waited = f"{silent * 1000:.0f} ms pause + {delay * 1000:.0f} ms"
        print(f"user:  {text}\nagent: {reply(text)}  [{waited}]", flush=True)


async def main(file: Path, server: str) -> None:
    """Send a file to the agent at the pace of speech."""
    detector = UtteranceDetector(SileroModel().build_detector(), VadConfig(pause_seconds=PAUSE))
    async with connect(server, sample_rate=SAMPLE_RATE, enable_partial=False) as stream:
        async for chunk in pace_audio(read_audio(file, SAMPLE_RATE, CHUNK_SECONDS), SAMPLE_RATE):
            await stream.send(chunk)
            detector.push(chunk)
            silent = detector.trailing_silence / SAMPLE_RATE
            # Long speech is split into utterances too, without a pause.
            if silent >= PAUSE and any(utterance.end for utterance in detector.utterances):
                detector.discard_before(detector.consumed)
                await answer(stream, silent)
        await answer(stream, detector.trailing_silence / SAMPLE_RATE)  # the last turn ends with the call


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(f"Usage: python {sys.argv[0]} FILE [SERVER]; the server is {SERVER} if not given.\n")
        sys.exit(2)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else SERVER))
    except (ServerError, UnreadableAudio) as error:
        sys.exit(str(error))
