"""``echoic transcribe``."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import (
    Config,
    Form,
    Key,
    Url,
    Wishes,
    complain,
    give_up,
    harmless,
    with_wishes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.cli.ending import Ending
    from echoic.cli.heard import Heard
    from echoic.cli.notices import Notices
    from echoic.client import Received

#: Seconds of audio that may be sent and not yet be decoded; what is older counts as done.
_AHEAD = 60.0
#: Samples per second, the protocol's default.
_RATE = 16_000
_ALLOW = "To accept that: --fallback."
_PART = "What was heard until then is written."


@dataclass(frozen=True, slots=True)
class _Errand:
    """What one call is to do, for each of its files."""

    form: Form
    folder: Path | None
    key: str | None
    config: dict[str, object]
    notices: "Notices"
    strict: bool
    way: "Ending"


@with_wishes
def transcribe(  # noqa: PLR0913  # each is an option of the command
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Audio or video files.", show_default=False)
    ],
    *,
    url: Url = None,
    form: Annotated[Form, typer.Option("--format", "-f", help="How the transcript is written.")] = Form.TXT,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write a file for each into this folder.")
    ] = None,
    key: Key = None,
    config: Config = None,
    wishes: Wishes,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Let another model do it where the one named cannot.")
    ] = False,
) -> None:
    """Turn recordings into text or subtitles; without --url on this machine, by a server of its own.

    The text goes to stdout, or with -o into files. A file that fails does not keep the others from being
    done; the exit code is then 1. What was heard of it is written, also at Ctrl-C.
    """
    from echoic.cli.ending import ending
    from echoic.cli.notices import Notices
    from echoic.server.settings import SettingsError

    if len(files) > 1 and form is not Form.TXT and output_dir is None:
        give_up(f"Several files as {form} need a folder to be written to: -o FOLDER.", 2)
    if wishes.insights and form in (Form.SRT, Form.VTT):
        give_up(f"Insights have no place in {form}: -f txt or -f json.", 2)
    try:
        wished = wishes.config(timed=form is not Form.TXT, enable_partial=False)
    except ValueError as error:
        give_up(str(error), 2)
    strict = wishes.model is not None and not fallback
    try:
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
        with ending() as way, _server(url, config) as address:
            errand = _Errand(form, output_dir, key, wished, Notices(wished), strict, way)
            failed = [file for file, name in _names(files, form) if not _do(file, name, address, errand)]
    except (ValueError, RuntimeError, SettingsError) as error:
        give_up(str(error), 2)
    except OSError as error:
        give_up(f"{error.filename or output_dir}: {(error.strerror or 'cannot be written').lower()}.")
    if failed:
        raise typer.Exit(1)


@contextmanager
def _server(url: str | None, config: Path | None) -> Iterator[str]:
    from echoic.cli.local import local_server
    from echoic.client import stream_address

    if url is not None:
        yield stream_address(url)
        return
    with local_server(config) as address:
        yield address


def _names(files: list[Path], form: Form) -> Iterator[tuple[Path, str]]:
    """Yield each file with the name of its transcript: the whole name where two have the same stem."""
    stems = Counter(file.stem for file in files)
    for file in files:
        yield file, f"{file.stem if stems[file.stem] == 1 else file.name}.{form}"


def _do(file: Path, name: str, address: str, errand: _Errand) -> bool:
    """Transcribe one file and write what was heard, all or not; return whether nothing went wrong.

    Raises:
        KeyboardInterrupt: A signal ended it.
    """
    from echoic.cli.heard import Heard

    heard = Heard()
    try:
        trouble = _trouble(file, address, errand, heard)
    except KeyboardInterrupt:
        if heard.finals:
            _write(heard, name, errand)
            complain(f"{file}: {_PART}")
        raise
    if heard.finals or not trouble:
        _write(heard, name, errand)
    for problem in heard.problems:
        complain(f"{file}: {problem}")
    if trouble:
        complain(f"{trouble} {_PART}" if heard.finals else trouble)
    return not trouble and not heard.problems


def _write(heard: "Heard", name: str, errand: _Errand) -> None:
    from echoic.cli.whole import write_whole

    text = heard.written(errand.form)
    if errand.folder is None:
        typer.echo(harmless(text), nl=False)
    else:
        write_whole(errand.folder / name, text.encode())
        typer.echo(errand.folder / name)


def _trouble(file: Path, address: str, errand: _Errand, heard: "Heard") -> str | None:
    """Hear a file; return why it was not heard to its end, if it was not."""
    from echoic.cli.advice import advice
    from echoic.client import ServerError, UnreadableAudio

    try:
        with _progress(file) as advance:
            errand.way.run(_hear(file, address, errand, heard, advance))
    except UnreadableAudio as error:
        return str(error)
    except ServerError as error:
        return f"{file}: {error}{advice(error)}"
    finally:
        errand.way.finish = None
    return None


async def _hear(
    file: Path, address: str, errand: _Errand, heard: "Heard", advance: "Callable[[float], None]"
) -> None:
    """Take what comes of a file into ``heard``; once anything is there, Ctrl-C leaves time to write it."""
    from echoic.cli.notices import OF_CONNECTION
    from echoic.cli.talk import Talk, converse
    from echoic.client import (
        Error,
        Final,
        ServerError,
        Warning,  # noqa: A004  # the protocol's word
    )
    from echoic.client.pacing import paced
    from echoic.media import read_audio

    def show(frame: "Received") -> None:
        heard.take(frame)
        if isinstance(frame, Final):
            if len(heard.finals) == 1:
                errand.way.finish = errand.way.interrupt
            advance(frame.segment_end)
        elif isinstance(frame, Warning) and frame.code == "model_fallback" and errand.strict:
            raise ServerError("model_unavailable", f"{frame.message} {_ALLOW}")
        elif not isinstance(frame, Error) and (sentence := errand.notices.sentence(frame)) is not None:
            complain(sentence)

    pieces = paced(read_audio(file, _RATE), _RATE, speed=None)
    talk = Talk(
        pieces,
        show,
        lambda sent: advance(sent - _AHEAD),
        lambda state: complain(OF_CONNECTION[state]),
        key=errand.key,
        config=errand.config,
    )
    await converse(address, talk, asyncio.Event())


@contextmanager
def _progress(file: Path) -> "Iterator[Callable[[float], None]]":
    """Show a bar on a terminal's stderr; yield what takes the seconds that are done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from echoic.media import audio_seconds

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(file.name, total=audio_seconds(file))
        furthest = 0.0

        def advance(seconds: float) -> None:
            nonlocal furthest
            furthest = max(furthest, seconds)
            progress.update(task, completed=furthest)

        yield advance
