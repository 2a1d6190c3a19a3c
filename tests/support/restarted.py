"""A server that can be killed and started again at the same place."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.live import SERVE_PROGRAM, ServerProcess
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator


class RestartableServer:
    """A server; made by ``run_restartable_server``.

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
        self.address = self._server.address
        self.start_count = 1

    def kill(self) -> None:
        """``kill -9``."""
        self._server.process.kill()
        self.wait_for_exit()

    def stop(self) -> None:
        """Have it deliver what it heard, and end."""
        self._server.process.terminate()
        self.wait_for_exit()

    def wait_for_exit(self) -> None:
        """Wait until it died."""
        self._server.process.wait(WAIT_SECONDS)

    def start(self) -> None:
        """Start another."""
        self.close()
        self._server = ServerProcess(self._program, **self._settings)
        assert self._server.address == self.address
        self.start_count += 1

    def close(self) -> None:
        """Leave nothing."""
        self._server.__exit__()


@contextmanager
def run_restartable_server(program: str = SERVE_PROGRAM, **settings: str) -> Iterator[RestartableServer]:
    """Yield a server that is there; it is ended with the block."""
    server = RestartableServer(program, **settings)
    try:
        yield server
    finally:
        server.close()
