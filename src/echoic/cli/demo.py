"""The command ``echoic demo``: streams a recording to a server started for it."""

from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from echoic.cli.options import ConfigOption, SpeedOption, exit_with_error

#: Recordings in the package of the default model: readings of A Tale of Two Cities and of Beckett.
_RECORDING_FILES = ("two_cities.wav", "beckett.wav")
#: Samples per second; the protocol's default.
_SAMPLE_RATE = 16_000
_INSTALL_COMMAND = "pip install moonshine-voice==0.0.73"


def run_demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of the recording to stream.")] = 25.0,
    speed: SpeedOption = 1.0,
    config: ConfigOption = None,
) -> None:
    """Transcribe a recording live, by a server that is started for this."""
    recording = find_demo_recording()
    if recording is None:
        exit_with_error(f"The recording comes with a package that is not installed: {_INSTALL_COMMAND}")

    from echoic.cli.local import run_local_server
    from echoic.cli.signals import handle_signals
    from echoic.cli.streaming import LiveRun, stream_live
    from echoic.cli.views import build_stdout_view
    from echoic.client import ServerError
    from echoic.client.pacing import CHUNK_SECONDS, pace_audio
    from echoic.media import UnreadableAudio, read_audio
    from echoic.server.settings.load import SettingsError

    live_run = LiveRun(build_stdout_view())
    try:
        pieces = islice(read_audio(recording, _SAMPLE_RATE, CHUNK_SECONDS), round(seconds / CHUNK_SECONDS))
        with handle_signals() as handler, run_local_server(config) as address:
            typer.echo(f"Streaming {recording.name} to {address}\n")
            paced = pace_audio(pieces, _SAMPLE_RATE, speed)
            handler.run_coroutine(stream_live(address, paced, live_run, handler))
    except (ServerError, SettingsError, UnreadableAudio, RuntimeError) as error:
        exit_with_error(str(error))
    typer.echo(f"\nTranscript\n{live_run.transcript.full_text}\n\n{_render_delays(live_run.delays)}")


def find_demo_recording() -> Path | None:
    """Return the first recording that is installed, or None; imports no package."""
    spec = find_spec("moonshine_voice")
    folders = [Path(place) / "assets" for place in (spec.submodule_search_locations or ())] if spec else []
    files = (folder / name for name in _RECORDING_FILES for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _render_delays(delays: list[float]) -> str:
    if not delays:
        return "No words were recognized."
    return (
        f"{len(delays)} finals; delay from the last sample of a segment to its text: "
        f"median {median(delays) * 1000:.0f} ms, longest {max(delays) * 1000:.0f} ms"
    )
