"""How a command ends before it is done: Ctrl-C, a service that is stopped, a terminal that is closed."""

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
#: What a shell reports for a program that a signal ended is this and the signal's number.
_SIGNAL_STATUS_BASE = 128
#: And for one that Ctrl-C ended.
INTERRUPTED_STATUS = _SIGNAL_STATUS_BASE + signal.SIGINT
#: Seconds for what is open to be closed, and for everything, whatever hangs: a model, a disk, a pipe.
_CLOSE_TIMEOUT, _EXIT_TIMEOUT = 0.4, 0.9


class SignalHandler:
    """What the signals to end do, while ``handle_signals`` has them.

    Attributes:
        on_first_signal: Called by the first; the next ends the command at once. None: the first does.
    """

    def __init__(self) -> None:
        self.on_first_signal: Callable[[], None] | None = None
        self.exit_status: int = INTERRUPTED_STATUS
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_interrupted = False

    def run_coroutine(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run ``main`` in a loop of its own, as ``asyncio.run`` does.

        Raises:
            KeyboardInterrupt: A signal ended it; its tasks were cancelled, and threads of its are left alone.
        """
        runner = asyncio.Runner()
        self._loop = loop = runner.get_loop()
        is_cut = False
        try:
            return runner.run(main)
        except KeyboardInterrupt:
            is_cut = True
            raise
        finally:
            self._loop = None
            if is_cut or self._is_interrupted:
                _cancel_tasks(loop)
            else:
                runner.close()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Do what the signal of this number asks for."""
        if not self._is_interrupted:
            self.exit_status = _SIGNAL_STATUS_BASE + number
        finish, self.on_first_signal = self.on_first_signal, None
        if finish is not None:
            finish()
            return
        if not self._is_interrupted:
            self._is_interrupted = True
            # No threading.Thread: its lock may be held by what was interrupted.
            _thread.start_new_thread(_exit_later, (self.exit_status,))
        self.interrupt()

    def interrupt(self) -> None:
        """End what runs at once; as ``on_first_signal``, there is time for what its caller has to do then.

        Raises:
            KeyboardInterrupt: No loop runs in which it would be raised.
        """
        if self._loop is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(_raise_interrupt)  # else a task that has much to close would keep it


@contextmanager
def handle_signals() -> Iterator[SignalHandler]:
    """Let signals end the block; where it was ended at once, the process is too, whatever its threads do."""
    way = SignalHandler()
    # What whoever started it has it ignore stays so: nohup, a job in the background of a script.
    heeded = [number for number in _HANDLED_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, way.on_signal) for number in heeded}
    try:
        yield way
    except KeyboardInterrupt:
        os._exit(way.exit_status)  # not by sys.exit: a model that is loaded in a thread would be waited for
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks close what they have open, as far as that is quick."""
    loop.set_exception_handler(lambda *_: None)  # whoever ends it does not ask what else goes wrong
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
