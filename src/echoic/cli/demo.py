"""``echoic demo``."""

from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from echoic.cli.options import Config, Speed, give_up

#: Recordings that come with the weights of the default model: A Tale of Two Cities, read aloud; Beckett.
_RECORDINGS = ("two_cities.wav", "beckett.wav")
#: Samples per second, the protocol's default.
_RATE = 16_000
_INSTALL = "pip install moonshine-voice==0.0.73"


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How much of the recording is streamed.")] = 25.0,
    speed: Speed = 1.0,
    config: Config = None,
) -> None:
    """Watch a recording being transcribed live, by a server that is started just for it."""
    recording = demo_recording()
    if recording is None:
        give_up(f"The recording comes with a package that is not installed: {_INSTALL}")

    from echoic.cli.ending import ending
    from echoic.cli.live import Sitting, listen
    from echoic.cli.local import local_server
    from echoic.cli.views import view_for_stdout
    from echoic.client import ServerError
    from echoic.client.pacing import PIECE, paced
    from echoic.media import UnreadableAudio, read_audio
    from echoic.server.settings import SettingsError

    sitting = Sitting(view_for_stdout())
    try:
        pieces = islice(read_audio(recording, _RATE, PIECE), round(seconds / PIECE))
        with ending() as way, local_server(config) as address:
            typer.echo(f"Streaming {recording.name} to {address}\n")
            way.run(listen(address, paced(pieces, _RATE, speed), sitting, way))
    except (ServerError, SettingsError, UnreadableAudio, RuntimeError) as error:
        give_up(str(error))
    typer.echo(f"\nTranscript\n{sitting.heard.transcript}\n\n{_measured(sitting.delays)}")


def demo_recording() -> Path | None:
    """Return the first recording there is; its package is only looked for, not imported."""
    spec = find_spec("moonshine_voice")
    folders = [Path(place) / "assets" for place in (spec.submodule_search_locations or ())] if spec else []
    found = (folder / name for name in _RECORDINGS for folder in folders)
    return next((file for file in found if file.is_file()), None)


def _measured(delays: list[float]) -> str:
    if not delays:
        return "Nothing was understood."
    return (
        f"{len(delays)} finals; from a segment's last sample to its text: "
        f"median {median(delays) * 1000:.0f} ms, longest {max(delays) * 1000:.0f} ms"
    )
