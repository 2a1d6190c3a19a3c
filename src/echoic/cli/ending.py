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

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
#: What a shell reports for a program that a signal ended is this and the signal's number.
_BY_SIGNAL = 128
#: And for one that Ctrl-C ended.
INTERRUPTED = _BY_SIGNAL + signal.SIGINT
#: Seconds for what is open to be closed, and for everything, whatever hangs: a model, a disk, a pipe.
_GRACE, _AT_MOST = 0.4, 0.9


class Ending:
    """What the signals to end do, while ``ending`` has them.

    Attributes:
        finish: Called by the first; the next ends the command at once. None: the first does.
    """

    def __init__(self) -> None:
        self.finish: Callable[[], None] | None = None
        self.status: int = INTERRUPTED
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
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
            if is_cut or self._is_over:
                _abandon(loop)
            else:
                runner.close()

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Do what the signal of this number asks for."""
        if not self._is_over:
            self.status = _BY_SIGNAL + number
        finish, self.finish = self.finish, None
        if finish is not None:
            finish()
            return
        if not self._is_over:
            self._is_over = True
            # No threading.Thread: its lock may be held by what was interrupted.
            _thread.start_new_thread(_leave_later, (self.status,))
        self.interrupt()

    def interrupt(self) -> None:
        """End what runs at once; as ``finish``, there is time for what its caller has to do then.

        Raises:
            KeyboardInterrupt: No loop runs in which it would be raised.
        """
        if self._loop is None:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(_interrupt)  # else a task that has much to close would keep it


@contextmanager
def ending() -> Iterator[Ending]:
    """Let signals end the block; where it was ended at once, the process is too, whatever its threads do."""
    way = Ending()
    # What whoever started it has it ignore stays so: nohup, a job in the background of a script.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, way.take) for number in heeded}
    try:
        yield way
    except KeyboardInterrupt:
        os._exit(way.status)  # not by sys.exit: a model that is loaded in a thread would be waited for
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks close what they have open, as far as that is quick."""
    loop.set_exception_handler(lambda *_: None)  # whoever ends it does not ask what else goes wrong
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE))


def _interrupt() -> None:
    raise KeyboardInterrupt


def _leave_later(status: int) -> None:
    time.sleep(_AT_MOST)
    os._exit(status)
