"""A stream that is watched while it runs, from the first sample to the last word."""

import asyncio
import socket
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.cli.advice import advice
from echoic.cli.ending import Ending, ending
from echoic.cli.heard import Heard
from echoic.cli.notices import OF_CONNECTION, Notices
from echoic.cli.options import Wishes, complain, give_up
from echoic.cli.save import Save
from echoic.cli.talk import Talk, converse
from echoic.cli.views import View, view_for_stdout
from echoic.client import ConnectionState, Final, Received, ServerError, UnreadableAudio, stream_address
from echoic.client.address import DEFAULT_SERVER

_ENDING = "Ending: the rest is on its way. Ctrl-C again ends at once."
#: Seconds by which the place of a final may miss the place of a piece: rounding on the wire.
_ROUNDING = 1e-5
#: Seconds in which a server on this machine takes a connection.
_PATIENCE = 2.0


@dataclass(slots=True)
class Sitting:
    """A stream that is watched.

    Attributes:
        view: Shows the frames.
        config: Keys of the ``config`` frame.
        key: The server's key.
        save: Where the transcript is written, or None.
        heard: What came of it.
        delays: For each final, seconds from when its segment's last sample was sent until it was here.
        interrupted: True if Ctrl-C ended it, and what was heard was delivered.
    """

    view: View
    config: dict[str, object] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    save: Save | None = None
    heard: Heard = field(default_factory=Heard)
    delays: list[float] = field(default_factory=list)
    interrupted: bool = False


class _Clock:
    """When each second of the audio was sent."""

    def __init__(self) -> None:
        self._sent: list[tuple[float, float]] = []

    def note(self, seconds: float) -> None:
        """Note that the audio up to ``seconds`` is sent."""
        self._sent.append((seconds, time.perf_counter()))

    def since(self, seconds: float) -> float:
        """Return the time since the audio at ``seconds`` was sent."""
        now = time.perf_counter()
        place = bisect_left(self._sent, (seconds - _ROUNDING, 0.0))
        return now - self._sent[place][1] if place < len(self._sent) else 0.0


def sitting_of(wishes: Wishes, save: Path | None, url: str | None, key: str | None) -> Sitting:
    """Return a sitting in which a command's options are wished for.

    Raises:
        typer.Exit: One of their files, or the address, cannot be used.
    """
    try:
        stream_address(url or DEFAULT_SERVER)
        saved = Save(save) if save else None
        config = wishes.config(timed=saved is not None and saved.is_timed)
    except ValueError as error:
        give_up(str(error), 2)
    return Sitting(view_for_stdout(), config, key, saved)


def watch(
    url: str | None, config: Path | None, pieces: AsyncGenerator[NDArray[np.float32], None], sitting: Sitting
) -> None:
    """Stream and show it all, for a command: what goes wrong is a sentence, and what was heard is kept.

    Args:
        url: The server; None: one on this machine, of this command's own if none runs.
        config: A file with the settings of a server of one's own.
        pieces: As for ``listen``.
        sitting: How.

    Raises:
        typer.Exit: It failed.
    """
    with ending() as way, _kept(sitting), _told(), _server(url, config) as address:
        way.run(listen(address, pieces, sitting, way))


@contextmanager
def _told() -> Iterator[None]:
    """Tell what goes wrong in the block, and leave."""
    from echoic.server.settings import SettingsError

    try:
        yield
    except ServerError as error:
        give_up(f"{error}{advice(error)}")
    except (UnreadableAudio, ValueError, SettingsError, RuntimeError) as error:
        give_up(str(error))
    except BrokenPipeError:
        raise  # whoever read has read enough
    except OSError as error:
        give_up(f"The words cannot be written: {(error.strerror or 'no reason given').lower()}.")


@contextmanager
def _kept(sitting: Sitting) -> Iterator[None]:
    """Write what was heard, if anything was, however the block ends."""
    try:
        yield
    finally:
        if sitting.save is not None:
            with closing(sitting.save):
                if sitting.heard.finals:
                    _write(sitting.save, sitting.heard)


def _write(save: Save, heard: Heard) -> None:
    try:
        save.write(heard)
    except ValueError as error:
        give_up(str(error))
    complain(f"Saved to {save.path}.")


async def listen(
    address: str, pieces: AsyncGenerator[NDArray[np.float32], None], sitting: Sitting, way: Ending
) -> None:
    """Stream; the first Ctrl-C has what was heard delivered, where anything was.

    Args:
        address: The URL of the stream endpoint.
        pieces: float32, mono, -1..1, at the configured rate, as they are spoken.
        sitting: How; what came of it is there afterwards, also if this fails.
        way: What runs this.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded.
    """
    clock, notices = _Clock(), Notices(sitting.config)
    enough, loop = asyncio.Event(), asyncio.get_running_loop()

    def show(frame: Received) -> None:
        sitting.heard.take(frame)
        if (sentence := notices.sentence(frame)) is not None:
            sitting.view.tell(sentence)
        if isinstance(frame, Final):
            sitting.delays.append(clock.since(frame.segment_end))
            _save_now(sitting)  # first: whoever reads stdout may read no more
        sitting.view.show(frame)

    def finish() -> None:
        sitting.interrupted = True
        loop.call_soon_threadsafe(enough.set)
        loop.call_soon_threadsafe(sitting.view.tell, _ENDING)

    def sent(seconds: float) -> None:
        clock.note(seconds)
        way.finish = None if sitting.interrupted else finish

    def tell(state: ConnectionState) -> None:
        sitting.view.tell(OF_CONNECTION[state])

    with sitting.view:
        try:
            await converse(address, Talk(pieces, show, sent, tell, sitting.key, sitting.config), enough)
        finally:
            way.finish = None


def _save_now(sitting: Sitting) -> None:
    """Write what is there, if that is due; where it cannot be, captions go on."""
    if sitting.save is not None:
        try:
            sitting.save.update(sitting.heard)
        except ValueError as error:
            sitting.view.tell(str(error))


@contextmanager
def _server(url: str | None, config: Path | None) -> Iterator[str]:
    """Yield the address of a server: the one that is named, one that runs here, or one for this command."""
    if url is not None or _runs_here():
        yield stream_address(url or DEFAULT_SERVER)
        return
    from echoic.cli.local import local_server

    complain("No server runs here, so this command has one of its own (lasting: echoic serve).")
    with local_server(config) as address:
        yield address


def _runs_here() -> bool:
    host, _, port = DEFAULT_SERVER.rpartition("/")[2].partition(":")
    try:
        with socket.create_connection((host, int(port)), _PATIENCE):
            return True
    except OSError:
        return False
