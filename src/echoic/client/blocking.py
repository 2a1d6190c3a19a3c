"""Work for an event loop in another thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar
from weakref import finalize

from anyio.from_thread import BlockingPortal, start_blocking_portal
from numpy.typing import NDArray

from echoic.client import connector
from echoic.client.errors import ServerError
from echoic.client.messages import ReceivedFrame
from echoic.client.stream import Stream
from echoic.protocol.frames import Configured, Final

_T = TypeVar("_T")


class LoopCall(Generic[_T]):
    """A coroutine that is waited for in another thread, where it may be given up at any moment.

    Args:
        function: Called in the loop; returns the coroutine.
        undo: Called in the loop with what came of it, where it was given up.

    Attributes:
        future: What comes of it.
    """

    def __init__(
        self, function: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], object] = lambda _: None
    ) -> None:
        self.future: Future[_T] = Future()
        self._function, self._undo = function, undo
        self._task: asyncio.Task[_T] | None = None
        self._is_cancelled = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, unless it is given up already; to be called in the loop."""
        if not self._is_cancelled:
            self._task = loop.create_task(self._function())
            self._task.add_done_callback(self._set_outcome)

    def cancel(self) -> None:
        """End it, or undo what came of it; to be called in the loop."""
        self._is_cancelled = True
        task = self._task
        if task is not None and not task.cancel() and not task.cancelled() and task.exception() is None:
            self._undo(task.result())

    def _set_outcome(self, task: asyncio.Task[_T]) -> None:
        if task.cancelled():
            self.future.cancel()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


#: Seconds after which whoever waits looks up: Python notices no Ctrl-C that came just before a wait began.
_POLL_SECONDS = 0.5


class BlockingStream:
    """An open stream; made by ``connect``. Leaving its ``with`` block closes it.

    Iterating waits for the server's frames and yields them in their order, until the stream ends.
    What each call raises is what the call of the same name raises in ``echoic.client.Stream``.

    Args:
        stream: Open.
        portal: To the loop that it runs in.
        resources: What ends with it: the connection, the loop, the thread.
    """

    def __init__(self, stream: Stream, portal: BlockingPortal, resources: ExitStack) -> None:
        self._stream = stream
        self._loop = portal.call(_get_running_loop)
        # Called by ``close``, or when nobody has the stream any more, or at the latest when the program ends:
        # whoever waits for the loop's thread later than that waits for ever.
        self._process_id = os.getpid()
        self._finalizer = finalize(self, _close_resources, portal, resources, self._process_id)

    @property
    def configured(self) -> Configured:
        """The values that the server put into force."""
        return self._stream.configured

    def send(self, samples: NDArray[Any]) -> None:
        """Send samples, as ``Stream.send`` takes them; waits while the server takes no more."""
        self._run_in_loop(partial(self._stream.send, samples))

    def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None:
        """Send the first audio track of a file, at a pace or as fast as the server takes it."""
        self._run_in_loop(partial(self._stream.send_file, source, speed=speed))

    def commit(self) -> str:
        """Have everything sent so far finalised; return the transcript since the last commit."""
        return self._run_in_loop(self._stream.commit)

    def reset(self) -> None:
        """Have the server forget everything: transcript empty, clock at zero."""
        self._run_in_loop(self._stream.reset)

    def ping(self) -> float:
        """Return the seconds until the server's ``pong``."""
        return self._run_in_loop(self._stream.ping)

    def configure(self, values: Mapping[str, object]) -> None:
        """Send a ``config`` frame and wait until its values are in force."""
        self._run_in_loop(partial(self._stream.configure, values))

    def stop(self) -> str:
        """Have what is pending delivered and the stream ended; return the rest of the transcript."""
        return self._run_in_loop(self._stream.stop)

    def close(self) -> None:
        """Close the connection at once, whatever is pending; does nothing if it is closed."""
        self._finalizer()

    def frames(self) -> list[ReceivedFrame]:
        """Return the frames that are there by now, without waiting; iterating goes on after them."""

        async def there() -> list[ReceivedFrame]:
            return self._stream.frames()

        return self._run_in_loop(there, self._stream.requeue_frames)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedFrame:
        async def following() -> list[ReceivedFrame]:
            return [frame] if (frame := await anext(self._stream, None)) is not None else []

        frames = self._run_in_loop(following, self._stream.requeue_frames)
        if not frames:
            raise StopIteration
        return frames[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_in_loop(
        self, function: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], object] = lambda _: None
    ) -> _T:
        """Run it in the loop; if this thread is interrupted (Ctrl-C), it is given up there too, or undone."""
        if os.getpid() != self._process_id:
            raise ServerError("closed", "The stream belongs to the process that this one was forked from.")
        work = LoopCall(function, undo)
        try:
            self._call_in_loop(partial(work.start, self._loop))
            while not self._poll_future(work.future):
                pass
            return work.future.result()
        except BaseException:
            with suppress(ServerError):
                self._call_in_loop(work.cancel)
            raise

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # it has ended
            raise ServerError("closed", "The stream is closed.") from None

    def _poll_future(self, future: Future[_T]) -> bool:
        """Wait a little and return whether it is done."""
        with suppress(Exception):
            future.result(_POLL_SECONDS)
        if not future.done() and self._loop.is_closed():
            raise ServerError("closed", "The stream is closed.")
        return future.done()


async def _get_running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _close_resources(portal: BlockingPortal, resources: ExitStack, process_id: int) -> None:
    """Close them where they were opened: a process that was forked has the objects, and not the thread."""
    if os.getpid() == process_id:
        resources.close()
        return
    with suppress(StopIteration):  # it never waits, and whoever takes it down waits for no thread then
        portal.stop().send(None)


def connect(url: str, *, key: str | None = None, patience: float = 0.0, **config: object) -> BlockingStream:
    """Open a stream, configured and ready for samples; as ``echoic.client.connect``, argument by argument.

    Raises:
        ServerError: No server is there, it refused, or it cannot take this configuration.
        ValueError: As ``echoic.client.connect``.
    """
    with ExitStack() as resources:
        portal = resources.enter_context(start_blocking_portal("asyncio", name="echoic client"))
        opened = connector.connect(url, key=key, patience=patience, **config)
        stream = resources.enter_context(portal.wrap_async_context_manager(opened))
        return BlockingStream(stream, portal, resources.pop_all())


def transcribe(
    url: str,
    audio: Path | str | BinaryIO | NDArray[Any] | Iterable[NDArray[Any]],
    *,
    key: str | None = None,
    patience: float = 0.0,
    **config: object,
) -> list[Final]:
    """Send all of a recording as fast as the server takes it and return the finals.

    Args:
        url: As for ``connect``.
        audio: A file, an array of samples, or several, one after the other.
        key: The key.
        patience: As for ``connect``.
        **config: Keys of the ``config`` frame.

    Raises:
        ServerError: As ``connect``, or the stream ended early.
        UnreadableAudio: The file cannot be opened, or nothing of it can be decoded.
    """
    with connect(url, key=key, patience=patience, **{"enable_partial": False, **config}) as stream:
        if connector.is_file(audio):
            stream.send_file(audio)
        else:
            for samples in connector.iterate_arrays(audio):
                stream.send(samples)
        stream.stop()
        return [frame for frame in stream if isinstance(frame, Final)]
