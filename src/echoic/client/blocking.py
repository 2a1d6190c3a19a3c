"""The client without an event loop: blocking calls that run a stream in a background thread."""

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
    """A coroutine that another thread waits for, and may cancel at any moment.

    Args:
        function: Called in the loop; returns the coroutine.
        undo: Called in the loop with the result, if the call was cancelled after it finished.
    """

    def __init__(
        self, function: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], object] = lambda _: None
    ) -> None:
        #: The result.
        self.future: Future[_T] = Future()
        self._function, self._undo = function, undo
        self._task: asyncio.Task[_T] | None = None
        self._is_cancelled = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start unless cancelled; must run in the loop."""
        if not self._is_cancelled:
            self._task = loop.create_task(self._function())
            self._task.add_done_callback(self._set_outcome)

    def cancel(self) -> None:
        """Cancel the coroutine, or undo its result; must run in the loop."""
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


#: Seconds after which a waiting thread wakes up: Python misses a Ctrl-C that comes just before a wait.
_POLL_SECONDS = 0.5


class BlockingStream:
    """An open stream; made by ``connect``. Leaving its ``with`` block closes it.

    Iterating waits for the server's frames and yields them in order, until the stream ends. Methods raise
    what those of the same name in ``echoic.client.Stream`` raise.

    Args:
        stream: The stream.
        portal: Portal to its event loop.
        resources: Closed with the stream: the connection, the loop, the thread.
    """

    def __init__(self, stream: Stream, portal: BlockingPortal, resources: ExitStack) -> None:
        self._stream = stream
        self._loop = portal.call(_get_running_loop)
        # Called by ``close``, when the stream is garbage-collected, or at exit: Python joins threads at exit,
        # and the thread of a running loop would never end.
        self._process_id = os.getpid()
        self._finalizer = finalize(self, _close_resources, portal, resources, self._process_id)

    @property
    def configured(self) -> Configured:
        """The values that the server put into force."""
        return self._stream.configured

    def send(self, samples: NDArray[Any]) -> None:
        """Send samples, as ``Stream.send``; blocks under backpressure."""
        self._run_in_loop(partial(self._stream.send, samples))

    def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None:
        """Send the first audio track of a file, paced or as fast as the server accepts it."""
        self._run_in_loop(partial(self._stream.send_file, source, speed=speed))

    def commit(self) -> str:
        """Finalize everything sent so far and return the transcript since the last commit."""
        return self._run_in_loop(self._stream.commit)

    def reset(self) -> None:
        """Clear the session on the server: transcript empty, clock at zero."""
        self._run_in_loop(self._stream.reset)

    def ping(self) -> float:
        """Return the seconds until the server's ``pong``."""
        return self._run_in_loop(self._stream.ping)

    def configure(self, values: Mapping[str, object]) -> None:
        """Send a ``config`` frame and wait until its values are in force."""
        self._run_in_loop(partial(self._stream.configure, values))

    def stop(self) -> str:
        """Finalize everything, end the stream, and return the transcript since the last commit."""
        return self._run_in_loop(self._stream.stop)

    def close(self) -> None:
        """Close the connection at once and drop what is pending; idempotent."""
        self._finalizer()

    def frames(self) -> list[ReceivedFrame]:
        """Return the frames received so far, without waiting; iteration continues after them."""

        async def take_frames() -> list[ReceivedFrame]:
            return self._stream.frames()

        return self._run_in_loop(take_frames, self._stream.requeue_frames)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedFrame:
        async def take_next() -> list[ReceivedFrame]:
            return [frame] if (frame := await anext(self._stream, None)) is not None else []

        frames = self._run_in_loop(take_next, self._stream.requeue_frames)
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
        """Run a coroutine in the loop; if this thread is interrupted (Ctrl-C), cancel or undo it there."""
        if os.getpid() != self._process_id:
            raise ServerError("closed", "The stream belongs to the parent process; open one after the fork.")
        call = LoopCall(function, undo)
        try:
            self._call_in_loop(partial(call.start, self._loop))
            while not self._poll_future(call.future):
                pass
            return call.future.result()
        except BaseException:
            with suppress(ServerError):
                self._call_in_loop(call.cancel)
            raise

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            raise ServerError("closed", "The stream is closed.") from None

    def _poll_future(self, future: Future[_T]) -> bool:
        """Wait a little and return whether the future is done."""
        with suppress(Exception):
            future.result(_POLL_SECONDS)
        if not future.done() and self._loop.is_closed():
            raise ServerError("closed", "The stream is closed.")
        return future.done()


async def _get_running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _close_resources(portal: BlockingPortal, resources: ExitStack, process_id: int) -> None:
    """Close the resources in the process that opened them: a forked child has no thread for the loop."""
    if os.getpid() == process_id:
        resources.close()
        return
    with suppress(StopIteration):  # marks the portal as stopped, so that its exit joins no thread
        portal.stop().send(None)


def connect(
    url: str, *, key: str | None = None, retry_seconds: float = 0.0, **config: object
) -> BlockingStream:
    """Open a stream, configured and ready for samples; the arguments are those of ``echoic.client.connect``.

    Raises:
        ServerError: No server answers, or it refused the key or the config.
        ValueError: As ``echoic.client.connect``.
    """
    with ExitStack() as resources:
        portal = resources.enter_context(start_blocking_portal("asyncio", name="echoic client"))
        opened = connector.connect(url, key=key, retry_seconds=retry_seconds, **config)
        stream = resources.enter_context(portal.wrap_async_context_manager(opened))
        return BlockingStream(stream, portal, resources.pop_all())


def transcribe(
    url: str,
    audio: Path | str | BinaryIO | NDArray[Any] | Iterable[NDArray[Any]],
    *,
    key: str | None = None,
    retry_seconds: float = 0.0,
    **config: object,
) -> list[Final]:
    """Send a recording as fast as the server accepts it and return the finals.

    Args:
        url: As for ``connect``.
        audio: A file, an array of samples, or several arrays in order.
        key: The key.
        retry_seconds: As for ``connect``.
        **config: Keys of the ``config`` frame.

    Raises:
        ServerError: As ``connect``, or the stream ended early.
        UnreadableAudio: The file cannot be opened, or nothing of it can be decoded.
    """
    with connect(url, key=key, retry_seconds=retry_seconds, **{"enable_partial": False, **config}) as stream:
        if connector.is_file(audio):
            stream.send_file(audio)
        else:
            for samples in connector.iterate_arrays(audio):
                stream.send(samples)
        stream.stop()
        return [frame for frame in stream if isinstance(frame, Final)]
