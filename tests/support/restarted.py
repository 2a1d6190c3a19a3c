"""A server that can be killed and started again at the same place."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.live import SERVE, ServerProcess
from support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Restarted:
    """A server; made by ``restarted``.

    Args:
        program: As ``ServerProcess``.
        **settings: The same.
    """

    def __init__(self, program: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._program = program
        # Starting takes a busy machine long: so long clients try.
        self._settings = {"resume_seconds": "240"} | settings | {"port": str(port)}
        self._server = ServerProcess(program, **self._settings)
        #: Where it is.
        self.place = self._server.place
        self.starts = 1

    def kill(self) -> None:
        """``kill -9``."""
        self._server.process.kill()
        self.wait()

    def stop(self) -> None:
        """Have it deliver what it heard, and end."""
        self._server.process.terminate()
        self.wait()

    def wait(self) -> None:
        """Wait until it died."""
        self._server.process.wait(PATIENCE)

    def start(self) -> None:
        """Start another."""
        self.end()
        self._server = ServerProcess(self._program, **self._settings)
        assert self._server.place == self.place
        self.starts += 1

    def end(self) -> None:
        """Leave nothing."""
        self._server.__exit__()


@contextmanager
def restarted(program: str = SERVE, **settings: str) -> Iterator[Restarted]:
    """Yield a server that is there; it is ended with the block."""
    server = Restarted(program, **settings)
    try:
        yield server
    finally:
        server.end()
