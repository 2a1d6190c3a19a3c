"""The command ``echoic transcribe``: turns recordings into text or subtitles."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoic.cli.options import (
    ApiKeyOption,
    ConfigOption,
    OutputFormat,
    StreamOptions,
    UrlOption,
    exit_with_error,
    print_error,
    strip_control_characters,
    with_stream_options,
)
from echoic.cli.signals import SignalHandler

if TYPE_CHECKING:
    from echoic.cli.messages import NoticeRenderer
    from echoic.cli.transcript_file import StreamTranscript
    from echoic.client import ReceivedFrame

#: For the progress bar: seconds of audio that may be sent and not yet decoded.
_UNDECODED_SECONDS = 60.0
#: Samples per second; the protocol's default.
_SAMPLE_RATE = 16_000
_FALLBACK_HINT = "To use it: --fallback."
_PARTIAL_HINT = "The transcript up to this point was written."


@dataclass(frozen=True, slots=True)
class _TranscribeJob:
    """The options of one call, for each of its files."""

    output_format: OutputFormat
    #: The folder for the transcripts; None: stdout.
    output_folder: Path | None
    api_key: str | None
    #: Keys of the ``config`` frame.
    config: dict[str, object]
    notices: "NoticeRenderer"
    #: Whether a fallback to another model is an error.
    is_strict: bool
    signal_handler: SignalHandler


@with_stream_options
def transcribe_files(  # noqa: PLR0913  # each is an option of the command
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Audio or video files.", show_default=False)
    ],
    *,
    url: UrlOption = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", "-f", help="The format of the transcript.")
    ] = OutputFormat.TXT,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Write a file for each recording to this folder."),
    ] = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    stream_options: StreamOptions,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Use another model if the one of --model is not available.")
    ] = False,
) -> None:
    """Turn recordings into text or subtitles.

    The text goes to stdout, or with -o to files.
    If a file fails, the others are transcribed, and the exit code is 1.
    Its transcript up to the failure is written, also after Ctrl-C.
    Without --url, it starts a server for this command.
    """
    from echoic.cli.messages import NoticeRenderer
    from echoic.cli.signals import handle_signals
    from echoic.server.settings.load import SettingsError

    if len(files) > 1 and output_format is not OutputFormat.TXT and output_dir is None:
        exit_with_error(f"Several {output_format} transcripts need an output folder: -o FOLDER.", 2)
    if stream_options.insights and output_format in (OutputFormat.SRT, OutputFormat.VTT):
        exit_with_error(f"The format {output_format} cannot hold insights. Use -f txt or -f json.", 2)
    with_word_times = output_format is not OutputFormat.TXT
    try:
        stream_config = stream_options.to_config(with_word_times=with_word_times, enable_partial=False)
    except ValueError as error:
        exit_with_error(str(error), 2)
    is_strict = stream_options.model is not None and not fallback
    try:
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
        with handle_signals() as handler, _open_server(url, config) as address:
            notices = NoticeRenderer(stream_config)
            job = _TranscribeJob(output_format, output_dir, key, stream_config, notices, is_strict, handler)
            failed = [
                file
                for file, name in _name_outputs(files, output_format)
                if not _transcribe_file(file, name, address, job)
            ]
    except (ValueError, RuntimeError, SettingsError) as error:
        exit_with_error(str(error), 2)
    except OSError as error:
        exit_with_error(f"{error.filename or output_dir}: {(error.strerror or 'cannot be written').lower()}.")
    if failed:
        raise typer.Exit(1)


@contextmanager
def _open_server(url: str | None, config: Path | None) -> Iterator[str]:
    from echoic.cli.local import run_local_server
    from echoic.client import resolve_stream_url

    if url is not None:
        yield resolve_stream_url(url)
        return
    with run_local_server(config) as address:
        yield address


def _name_outputs(files: list[Path], output_format: OutputFormat) -> Iterator[tuple[Path, str]]:
    """Yield each file with the name of its transcript; files of the same stem keep their extension in it."""
    stems = Counter(file.stem for file in files)
    for file in files:
        yield file, f"{file.stem if stems[file.stem] == 1 else file.name}.{output_format}"


def _transcribe_file(file: Path, name: str, address: str, job: _TranscribeJob) -> bool:
    """Transcribe one file and write the transcript, also if it is incomplete; return True on success.

    Raises:
        KeyboardInterrupt: A signal interrupted it.
    """
    from echoic.cli.transcript_file import StreamTranscript

    transcript = StreamTranscript()
    try:
        failure = _try_streaming(file, address, job, transcript)
    except KeyboardInterrupt:
        if transcript.finals:
            _write_transcript(transcript, name, job)
            print_error(f"{file}: {_PARTIAL_HINT}")
        raise
    if transcript.finals or not failure:
        _write_transcript(transcript, name, job)
    for problem in transcript.problems:
        print_error(f"{file}: {problem}")
    if failure:
        print_error(f"{failure} {_PARTIAL_HINT}" if transcript.finals else failure)
    return not failure and not transcript.problems


def _write_transcript(transcript: "StreamTranscript", name: str, job: _TranscribeJob) -> None:
    from echoic.cli.transcript_file import write_atomically

    text = transcript.render_as(job.output_format)
    if job.output_folder is None:
        typer.echo(strip_control_characters(text), nl=False)
    else:
        write_atomically(job.output_folder / name, text.encode())
        typer.echo(job.output_folder / name)


def _try_streaming(
    file: Path, address: str, job: _TranscribeJob, transcript: "StreamTranscript"
) -> str | None:
    """Stream a file; return the message of the failure, or None."""
    from echoic.cli.messages import suggest_fix
    from echoic.client import ServerError, UnreadableAudio

    try:
        with _show_progress(file) as advance:
            job.signal_handler.run_coroutine(_stream_file(file, address, job, transcript, advance))
    except UnreadableAudio as error:
        return str(error)
    except ServerError as error:
        return f"{file}: {error}{suggest_fix(error)}"
    finally:
        job.signal_handler.on_first_signal = None
    return None


async def _stream_file(
    file: Path,
    address: str,
    job: _TranscribeJob,
    transcript: "StreamTranscript",
    advance: Callable[[float], None],
) -> None:
    """Stream a file into ``transcript``; after its first final, Ctrl-C leaves time to write it."""
    from echoic.cli.messages import CONNECTION_MESSAGES
    from echoic.cli.streaming import StreamRequest, run_stream
    from echoic.client import Error, Final, ServerError, Warning  # noqa: A004  # the protocol's word
    from echoic.client.pacing import pace_audio
    from echoic.media import read_audio

    def add_frame(frame: "ReceivedFrame") -> None:
        transcript.add_frame(frame)
        if isinstance(frame, Final):
            if len(transcript.finals) == 1:
                job.signal_handler.on_first_signal = job.signal_handler.interrupt
            advance(frame.segment_end)
        elif isinstance(frame, Warning) and frame.code == "model_fallback" and job.is_strict:
            raise ServerError("model_unavailable", f"{frame.message} {_FALLBACK_HINT}")
        elif not isinstance(frame, Error) and (sentence := job.notices.render_notice(frame)) is not None:
            print_error(sentence)

    pieces = pace_audio(read_audio(file, _SAMPLE_RATE), _SAMPLE_RATE, speed=None)
    request = StreamRequest(
        pieces,
        add_frame,
        lambda sent: advance(sent - _UNDECODED_SECONDS),
        lambda state: print_error(CONNECTION_MESSAGES[state]),
        api_key=job.api_key,
        config=job.config,
    )
    await run_stream(address, request, asyncio.Event())


@contextmanager
def _show_progress(file: Path) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on stderr if it is a terminal; yield a function to set the seconds done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from echoic.media import read_audio_seconds

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(file.name, total=read_audio_seconds(file))
        furthest = 0.0

        def advance(seconds: float) -> None:
            nonlocal furthest
            furthest = max(furthest, seconds)
            progress.update(task, completed=furthest)

        yield advance
