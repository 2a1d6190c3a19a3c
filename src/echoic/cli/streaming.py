"""One recording through a server: samples go out while frames come in."""

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

#: Seconds after which a server hears of a client whose source is silent.
_KEEPALIVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What is streamed, and how.

    Attributes:
        pieces: float32, mono, -1..1, at the configured rate, when they are to be sent.
        on_frame: Called with each frame.
        on_sent: Called with the seconds of audio sent so far, after each piece.
        on_state: Called when the connection is lost, and when the stream goes on over another.
        api_key: The server's key.
        config: Keys of the ``config`` frame.
    """

    pieces: AsyncGenerator[NDArray[np.float32], None]
    on_frame: Callable[[ReceivedFrame], None]
    on_sent: Callable[[float], None]
    on_state: Callable[[ConnectionState], None] | None = None
    api_key: str | None = field(default=None, repr=False)
    config: dict[str, object] = field(default_factory=dict)


async def run_stream(address: str, request: StreamRequest, stop_requested: asyncio.Event) -> str:
    """Stream everything, or until ``stop_requested`` is set; when all of it is delivered, return the model's name.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded; what could be is delivered first.
    """
    async with (
        aclosing(request.pieces),
        connect(address, key=request.api_key, patience=0.0, **request.config) as stream,
        _run_alongside(_send_until_stopped(stream, request, stop_requested)),
    ):
        stream.on_state = request.on_state
        async for frame in stream:
            request.on_frame(frame)
    return stream.configured.active_model


async def _send_until_stopped(stream: Stream, request: StreamRequest, stop_requested: asyncio.Event) -> None:
    sending = asyncio.create_task(_send_pieces(stream, request))
    others = asyncio.create_task(stop_requested.wait()), asyncio.create_task(_send_keepalives(stream))
    try:
        await asyncio.wait([sending, others[0]], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, *others):
            task.cancel()
        await asyncio.wait([sending, *others])
    failed = None if sending.cancelled() else sending.exception()
    if failed is None or isinstance(failed, UnreadableAudio):
        await stream.stop()
    if failed is not None:
        await stream.close()  # whoever reads waits no longer
        raise failed


async def _send_pieces(stream: Stream, request: StreamRequest) -> None:
    rate, seconds = stream.configured.sample_rate, 0.0
    async for piece in request.pieces:
        await stream.send(piece)
        seconds += len(piece) / rate
        request.on_sent(seconds)


async def _send_keepalives(stream: Stream) -> None:
    """Keep a stream open whose source is silent: a pipe that waits, a sound card that sleeps."""
    with suppress(ServerError):  # whoever reads is told the same
        while True:
            await asyncio.sleep(_KEEPALIVE_SECONDS)
            await stream.ping()


@asynccontextmanager
async def _run_alongside(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``coroutine`` beside the block and wait for it; if the block fails, its error counts and work ends."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; it says the same
        raise
    await task


_ENDING_MESSAGE = "Ending: the rest is on its way. Ctrl-C again ends at once."
#: Seconds by which the place of a final may miss the place of a piece: rounding on the wire.
_TIME_TOLERANCE = 1e-5
#: Seconds in which a server on this machine takes a connection.
_CONNECT_TIMEOUT = 2.0


@dataclass(slots=True)
class LiveRun:
    """A stream that is watched.

    Attributes:
        view: Shows the frames.
        config: Keys of the ``config`` frame.
        api_key: The server's key.
        transcript_file: Where the transcript is written, or None.
        transcript: What came of it.
        delays: For each final, seconds from when its segment's last sample was sent until it was here.
        is_interrupted: True if Ctrl-C ended it, and what was heard was delivered.
    """

    view: StreamView
    config: dict[str, object] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    transcript_file: TranscriptFile | None = None
    transcript: StreamTranscript = field(default_factory=StreamTranscript)
    delays: list[float] = field(default_factory=list)
    is_interrupted: bool = False


class _SendClock:
    """When each second of the audio was sent."""

    def __init__(self) -> None:
        self._send_times: list[tuple[float, float]] = []

    def record_sent(self, seconds: float) -> None:
        """Note that the audio up to ``seconds`` is sent."""
        self._send_times.append((seconds, time.perf_counter()))

    def measure_delay(self, seconds: float) -> float:
        """Return the time since the audio at ``seconds`` was sent."""
        now = time.perf_counter()
        place = bisect_left(self._send_times, (seconds - _TIME_TOLERANCE, 0.0))
        return now - self._send_times[place][1] if place < len(self._send_times) else 0.0


def build_live_run(
    options: StreamOptions, save_path: Path | None, url: str | None, api_key: str | None
) -> LiveRun:
    """Return a sitting in which a command's options are wished for.

    Raises:
        typer.Exit: One of their files, or the address, cannot be used.
    """
    try:
        resolve_stream_url(url or DEFAULT_SERVER)
        saved = TranscriptFile(save_path) if save_path else None
        config = options.to_config(with_word_times=saved is not None and saved.has_word_times)
    except ValueError as error:
        exit_with_error(str(error), 2)
    return LiveRun(build_stdout_view(), config, api_key, saved)


def run_live_command(
    url: str | None, config: Path | None, pieces: AsyncGenerator[NDArray[np.float32], None], live_run: LiveRun
) -> None:
    """Stream and show it all, for a command: what goes wrong is a sentence, and what was heard is kept.

    Args:
        url: The server; None: one on this machine, of this command's own if none runs.
        config: A file with the settings of a server of one's own.
        pieces: As for ``stream_live``.
        live_run: How.

    Raises:
        typer.Exit: It failed.
    """
    with (
        handle_signals() as way,
        _save_transcript(live_run),
        _report_errors(),
        _open_server(url, config) as address,
    ):
        way.run_coroutine(stream_live(address, pieces, live_run, way))


@contextmanager
def _report_errors() -> Iterator[None]:
    """Tell what goes wrong in the block, and leave."""
    from echoic.server.settings.load import SettingsError

    try:
        yield
    except ServerError as error:
        exit_with_error(f"{error}{suggest_fix(error)}")
    except (UnreadableAudio, ValueError, SettingsError, RuntimeError) as error:
        exit_with_error(str(error))
    except BrokenPipeError:
        raise  # whoever read has read enough
    except OSError as error:
        exit_with_error(f"The words cannot be written: {(error.strerror or 'no reason given').lower()}.")


@contextmanager
def _save_transcript(live_run: LiveRun) -> Iterator[None]:
    """Write what was heard, if anything was, however the block ends."""
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


async def stream_live(
    address: str,
    pieces: AsyncGenerator[NDArray[np.float32], None],
    live_run: LiveRun,
    signal_handler: SignalHandler,
) -> None:
    """Stream; the first Ctrl-C has what was heard delivered, where anything was.

    Args:
        address: The URL of the stream endpoint.
        pieces: float32, mono, -1..1, at the configured rate, as they are spoken.
        live_run: How; what came of it is there afterwards, also if this fails.
        signal_handler: What runs this.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded.
    """
    clock, notices = _SendClock(), NoticeRenderer(live_run.config)
    enough, loop = asyncio.Event(), asyncio.get_running_loop()

    def show(frame: ReceivedFrame) -> None:
        live_run.transcript.add_frame(frame)
        if (sentence := notices.render_notice(frame)) is not None:
            live_run.view.show_message(sentence)
        if isinstance(frame, Final):
            live_run.delays.append(clock.measure_delay(frame.segment_end))
            _update_transcript_file(live_run)  # first: whoever reads stdout may read no more
        live_run.view.show_frame(frame)

    def finish() -> None:
        live_run.is_interrupted = True
        loop.call_soon_threadsafe(enough.set)
        loop.call_soon_threadsafe(live_run.view.show_message, _ENDING_MESSAGE)

    def sent(seconds: float) -> None:
        clock.record_sent(seconds)
        signal_handler.on_first_signal = None if live_run.is_interrupted else finish

    def tell(state: ConnectionState) -> None:
        live_run.view.show_message(CONNECTION_MESSAGES[state])

    with live_run.view:
        try:
            await run_stream(
                address, StreamRequest(pieces, show, sent, tell, live_run.api_key, live_run.config), enough
            )
        finally:
            signal_handler.on_first_signal = None


def _update_transcript_file(live_run: LiveRun) -> None:
    """Write what is there, if that is due; where it cannot be, captions go on."""
    if live_run.transcript_file is not None:
        try:
            live_run.transcript_file.update_if_due(live_run.transcript)
        except ValueError as error:
            live_run.view.show_message(str(error))


@contextmanager
def _open_server(url: str | None, config: Path | None) -> Iterator[str]:
    """Yield the address of a server: the one that is named, one that runs here, or one for this command."""
    if url is not None or _is_server_running():
        yield resolve_stream_url(url or DEFAULT_SERVER)
        return
    from echoic.cli.local import run_local_server

    print_error("No server runs here, so this command has one of its own (lasting: echoic serve).")
    with run_local_server(config) as address:
        yield address


def _is_server_running() -> bool:
    host, _, port = DEFAULT_SERVER.rpartition("/")[2].partition(":")
    try:
        with socket.create_connection((host, int(port)), _CONNECT_TIMEOUT):
            return True
    except OSError:
        return False
