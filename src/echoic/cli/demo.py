"""``echoic demo``."""

from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from echoic.cli.options import ConfigOption, SpeedOption, exit_with_error

#: Recordings that come with the weights of the default model: A Tale of Two Cities, read aloud; Beckett.
_RECORDING_FILES = ("two_cities.wav", "beckett.wav")
#: Samples per second, the protocol's default.
_SAMPLE_RATE = 16_000
_INSTALL_COMMAND = "pip install moonshine-voice==0.0.73"


def run_demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How much of the recording is streamed.")] = 25.0,
    speed: SpeedOption = 1.0,
    config: ConfigOption = None,
) -> None:
    """Watch a recording being transcribed live, by a server that is started just for it."""
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

    sitting = LiveRun(build_stdout_view())
    try:
        pieces = islice(read_audio(recording, _SAMPLE_RATE, CHUNK_SECONDS), round(seconds / CHUNK_SECONDS))
        with handle_signals() as way, run_local_server(config) as address:
            typer.echo(f"Streaming {recording.name} to {address}\n")
            way.run_coroutine(stream_live(address, pace_audio(pieces, _SAMPLE_RATE, speed), sitting, way))
    except (ServerError, SettingsError, UnreadableAudio, RuntimeError) as error:
        exit_with_error(str(error))
    typer.echo(f"\nTranscript\n{sitting.transcript.full_text}\n\n{_render_delays(sitting.delays)}")


def find_demo_recording() -> Path | None:
    """Return the first recording there is; its package is only looked for, not imported."""
    spec = find_spec("moonshine_voice")
    folders = [Path(place) / "assets" for place in (spec.submodule_search_locations or ())] if spec else []
    found = (folder / name for name in _RECORDING_FILES for folder in folders)
    return next((file for file in found if file.is_file()), None)


def _render_delays(delays: list[float]) -> str:
    if not delays:
        return "Nothing was understood."
    return (
        f"{len(delays)} finals; from a segment's last sample to its text: "
        f"median {median(delays) * 1000:.0f} ms, longest {max(delays) * 1000:.0f} ms"
    )
