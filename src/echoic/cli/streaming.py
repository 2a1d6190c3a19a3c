"""Streams audio to a server while showing and saving the frames received."""

import asyncio
import socket
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.cli.messages import CONNECTION_MESSAGES, NoticeRenderer, suggest_fix
from echoic.cli.options import StreamOptions, exit_with_error, print_error
from echoic.cli.signals import SignalHandler, handle_signals
from echoic.cli.transcript_file import StreamTranscript, TranscriptFile
from echoic.cli.views import StreamView, build_stdout_view
from echoic.client import (
    ConnectionState,
    Final,
    ReceivedFrame,
    ServerError,
    Stream,
    UnreadableAudio,
    connect,
    resolve_stream_url,
)
from echoic.client.address import DEFAULT_SERVER

#: Seconds between two pings.
_KEEPALIVE_SECONDS = 20.0
_ENDING_MESSAGE = "Stopping: waiting for the last words. Press Ctrl-C again to exit at once."
#: Rounding error, in seconds, of times on the wire.
_TIME_TOLERANCE = 1e-5
#: Seconds for connecting to a server on this machine.
_CONNECT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The audio of a stream, its configuration and its callbacks."""

    #: float32, mono, shape ``(n,)``, -1..1, at the configured sample rate; sent as soon as they are yielded.
    pieces: AsyncGenerator[NDArray[np.float32], None]
    #: Called with each frame received.
    on_frame: Callable[[ReceivedFrame], None]
    #: Called after each piece with the seconds of audio sent so far.
    on_sent: Callable[[float], None]
    #: Called when the connection is lost and when it is restored.
    on_state: Callable[[ConnectionState], None] | None = None
    #: The server's API key, or None.
    api_key: str | None = field(default=None, repr=False)
    #: Keys of the ``config`` frame.
    config: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class LiveRun:
    """A live stream on the command line: its configuration and its results."""

    #: Shows the frames.
    view: StreamView
    #: Keys of the ``config`` frame.
    config: dict[str, object] = field(default_factory=dict)
    #: The server's API key, or None.
    api_key: str | None = field(default=None, repr=False)
    #: The file to which the transcript is saved, or None.
    transcript_file: TranscriptFile | None = None
    #: The frames received.
    transcript: StreamTranscript = field(default_factory=StreamTranscript)
    #: For each final: seconds from sending the last sample of its segment to receiving it.
    delays: list[float] = field(default_factory=list)
    #: Whether Ctrl-C ended the stream gracefully.
    is_interrupted: bool = False


class _SendClock:
    """Records when each part of the audio was sent."""

    def __init__(self) -> None:
        self._send_times: list[tuple[float, float]] = []

    def record_sent(self, seconds: float) -> None:
        """Record that the audio up to ``seconds`` has been sent."""
        self._send_times.append((seconds, time.perf_counter()))

    def measure_delay(self, seconds: float) -> float:
        """Return the seconds since the audio at ``seconds`` was sent."""
        now = time.perf_counter()
        index = bisect_left(self._send_times, (seconds - _TIME_TOLERANCE, 0.0))
        return now - self._send_times[index][1] if index < len(self._send_times) else 0.0


def build_live_run(
    options: StreamOptions, save_path: Path | None, url: str | None, api_key: str | None
) -> LiveRun:
    """Build a live run from the options of a command.

    Raises:
        typer.Exit: The address, the vocabulary file or the file to save to is invalid.
    """
    try:
        resolve_stream_url(url or DEFAULT_SERVER)
        transcript_file = TranscriptFile(save_path) if save_path else None
        with_word_times = transcript_file is not None and transcript_file.has_word_times
        config = options.to_config(with_word_times=with_word_times)
    except ValueError as error:
        exit_with_error(str(error), 2)
    return LiveRun(build_stdout_view(), config, api_key, transcript_file)


def run_live_command(
    url: str | None, config: Path | None, pieces: AsyncGenerator[NDArray[np.float32], None], live_run: LiveRun
) -> None:
    """Stream audio, show the frames and save the transcript; prints errors as sentences.

    Args:
        url: The server; None: the server on this machine, or one started for this command if none runs.
        config: A settings file for a server started for this command, or None.
        pieces: The audio, as for ``stream_live``.
        live_run: The configuration; receives the results.

    Raises:
        typer.Exit: The stream failed.
    """
    with (
        handle_signals() as handler,
        _save_transcript(live_run),
        _report_errors(),
        _open_server(url, config) as address,
    ):
        handler.run_coroutine(stream_live(address, pieces, live_run, handler))


async def stream_live(
    address: str,
    pieces: AsyncGenerator[NDArray[np.float32], None],
    live_run: LiveRun,
    signal_handler: SignalHandler,
) -> None:
    """Stream audio and show the frames; the first Ctrl-C after audio was sent stops gracefully.

    Args:
        address: The URL of the stream endpoint.
        pieces: float32, mono, shape ``(n,)``, -1..1, at the configured sample rate, at the pace of speech.
        live_run: The configuration; receives the results, also if the stream fails.
        signal_handler: The handler that runs this coroutine.

    Raises:
        ServerError: No server answers, or it refused or ended the stream.
        UnreadableAudio: The audio cannot be decoded.
    """
    clock, notices = _SendClock(), NoticeRenderer(live_run.config)
    stop_requested, loop = asyncio.Event(), asyncio.get_running_loop()

    def show_frame(frame: ReceivedFrame) -> None:
        live_run.transcript.add_frame(frame)
        if (sentence := notices.render_notice(frame)) is not None:
            live_run.view.show_message(sentence)
        if isinstance(frame, Final):
            live_run.delays.append(clock.measure_delay(frame.segment_end))
            _update_transcript_file(live_run)  # before printing, which fails if stdout is closed
        live_run.view.show_frame(frame)

    def request_stop() -> None:
        live_run.is_interrupted = True
        loop.call_soon_threadsafe(stop_requested.set)
        loop.call_soon_threadsafe(live_run.view.show_message, _ENDING_MESSAGE)

    def on_sent(seconds: float) -> None:
        clock.record_sent(seconds)
        signal_handler.on_first_signal = None if live_run.is_interrupted else request_stop

    def show_state(state: ConnectionState) -> None:
        live_run.view.show_message(CONNECTION_MESSAGES[state])

    request = StreamRequest(pieces, show_frame, on_sent, show_state, live_run.api_key, live_run.config)
    with live_run.view:
        try:
            await run_stream(address, request, stop_requested)
        finally:
            signal_handler.on_first_signal = None


async def run_stream(address: str, request: StreamRequest, stop_requested: asyncio.Event) -> str:
    """Stream all audio, or until ``stop_requested`` is set, and receive all frames; return the active model.

    Raises:
        ServerError: No server answers, or it refused or ended the stream.
        UnreadableAudio: The audio cannot be decoded; the frames of the audio before that are received first.
    """
    async with (
        aclosing(request.pieces),
        connect(address, key=request.api_key, retry_seconds=0.0, **request.config) as stream,
        _run_alongside(_send_until_stopped(stream, request, stop_requested)),
    ):
        stream.on_state = request.on_state
        async for frame in stream:
            request.on_frame(frame)
    return stream.configured.active_model


@contextmanager
def _report_errors() -> Iterator[None]:
    """Print an error raised in the block as a sentence, and exit."""
    from echoic.server.settings.load import SettingsError

    try:
        yield
    except ServerError as error:
        exit_with_error(f"{error}{suggest_fix(error)}")
    except (UnreadableAudio, ValueError, SettingsError, RuntimeError) as error:
        exit_with_error(str(error))
    except BrokenPipeError:
        raise  # the reader of stdout has exited
    except OSError as error:
        exit_with_error(f"The transcript cannot be written: {(error.strerror or 'no reason given').lower()}.")


@contextmanager
def _save_transcript(live_run: LiveRun) -> Iterator[None]:
    """Save the transcript when the block ends, unless there are no finals."""
    try:
        yield
    finally:
        if live_run.transcript_file is not None:
            with closing(live_run.transcript_file):
                if live_run.transcript.finals:
                    _write_transcript(live_run.transcript_file, live_run.transcript)


def _write_transcript(transcript_file: TranscriptFile, transcript: StreamTranscript) -> None:
    try:
        transcript_file.write(transcript)
    except ValueError as error:
        exit_with_error(str(error))
    print_error(f"Saved to {transcript_file.path}.")


def _update_transcript_file(live_run: LiveRun) -> None:
    """Save the transcript if due; a failed write is reported and the stream goes on."""
    if live_run.transcript_file is not None:
        try:
            live_run.transcript_file.update_if_due(live_run.transcript)
        except ValueError as error:
            live_run.view.show_message(str(error))


@contextmanager
def _open_server(url: str | None, config: Path | None) -> Iterator[str]:
    """Yield the URL of the given server, of the one on this machine, or of one started for this command."""
    if url is not None or _is_server_running():
        yield resolve_stream_url(url or DEFAULT_SERVER)
        return
    from echoic.cli.local import run_local_server

    print_error(
        "No server runs on this machine; starting one for this command. To keep one running: echoic serve"
    )
    with run_local_server(config) as address:
        yield address


def _is_server_running() -> bool:
    host, _, port = DEFAULT_SERVER.rpartition("/")[2].partition(":")
    try:
        with socket.create_connection((host, int(port)), _CONNECT_TIMEOUT):
            return True
    except OSError:
        return False


async def _send_until_stopped(stream: Stream, request: StreamRequest, stop_requested: asyncio.Event) -> None:
    sending = asyncio.create_task(_send_pieces(stream, request))
    stopping = asyncio.create_task(stop_requested.wait())
    others = stopping, asyncio.create_task(_send_keepalives(stream))
    try:
        await asyncio.wait([sending, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, *others):
            task.cancel()
        await asyncio.wait([sending, *others])
    failed = None if sending.cancelled() else sending.exception()
    if failed is None or isinstance(failed, UnreadableAudio):
        await stream.stop()
    if failed is not None:
        await stream.close()  # ends the iteration over the frames
        raise failed


async def _send_pieces(stream: Stream, request: StreamRequest) -> None:
    rate, seconds = stream.configured.sample_rate, 0.0
    async for piece in request.pieces:
        await stream.send(piece)
        seconds += len(piece) / rate
        request.on_sent(seconds)


async def _send_keepalives(stream: Stream) -> None:
    """Ping the server, so that it keeps a stream open whose source delivers nothing."""
    with suppress(ServerError):  # the iteration over the frames raises it too
        while True:
            await asyncio.sleep(_KEEPALIVE_SECONDS)
            await stream.ping()


@asynccontextmanager
async def _run_alongside(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``coroutine`` concurrently with the block; if the block raises, cancel it, else wait for it."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved; the block raises the same
        raise
    await task
