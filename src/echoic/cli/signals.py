"""Handles SIGINT, SIGTERM and SIGHUP: finishes gracefully first, exits at once on the second."""

import _thread
import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

_T = TypeVar("_T")

_HANDLED_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
#: A shell reports this plus the signal's number as the status of a program ended by a signal.
_SIGNAL_STATUS_BASE = 128
#: The exit status after Ctrl-C.
INTERRUPTED_STATUS = _SIGNAL_STATUS_BASE + signal.SIGINT
#: Seconds for cancelled tasks to close their resources, and for the whole exit if something blocks.
_CLOSE_TIMEOUT, _EXIT_TIMEOUT = 0.4, 0.9


class SignalHandler:
    """Reacts to signals inside a ``handle_signals`` block."""

    def __init__(self) -> None:
        #: Called on the first signal; the next one interrupts. None: the first signal interrupts.
        self.on_first_signal: Callable[[], None] | None = None
        #: The status with which an interrupted process exits.
        self.exit_status: int = INTERRUPTED_STATUS
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_interrupted = False

    def run_coroutine(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run ``main`` in a new event loop, as ``asyncio.run`` does.

        Raises:
            KeyboardInterrupt: A signal interrupted it. Its tasks are cancelled; its threads are not joined.
        """
        runner = asyncio.Runner()
        self._loop = loop = runner.get_loop()
        is_interrupted = False
        try:
            return runner.run(main)
        except KeyboardInterrupt:
            is_interrupted = True
            raise
        finally:
            self._loop = None
            if is_interrupted or self._is_interrupted:
                _cancel_tasks(loop)
            else:
                runner.close()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Call ``on_first_signal`` or interrupt; installed with ``signal.signal``."""
        if not self._is_interrupted:
            self.exit_status = _SIGNAL_STATUS_BASE + number
        finish, self.on_first_signal = self.on_first_signal, None
        if finish is not None:
            finish()
            return
        if not self._is_interrupted:
            self._is_interrupted = True
            # Not threading.Thread: the interrupted code may hold its lock.
            _thread.start_new_thread(_exit_later, (self.exit_status,))
        self.interrupt()

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running event loop.

        As ``on_first_signal`` it sets no time limit for the exit, so the caller can still write files.

        Raises:
            KeyboardInterrupt: No event loop runs.
        """
        if self._loop is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(_raise_interrupt)  # a task that is slow to close cannot delay it


@contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Handle SIGINT, SIGTERM and SIGHUP inside the block; an interrupt exits without joining threads."""
    handler = SignalHandler()
    # Signals that the parent process ignores stay ignored: nohup, background jobs of a script.
    handled = [number for number in _HANDLED_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler.on_signal) for number in handled}
    try:
        yield handler
    except KeyboardInterrupt:
        os._exit(handler.exit_status)  # sys.exit would join a thread that loads a model
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks and wait briefly until they have closed their resources."""
    loop.set_exception_handler(lambda *_: None)  # errors after an interrupt are not reported
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT))


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


def _exit_later(status: int) -> None:
    time.sleep(_EXIT_TIMEOUT)
    os._exit(status)
