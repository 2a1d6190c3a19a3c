"""A TCP proxy on loopback whose connections a test can cut."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of a client's handshake and config.
_NO_AUDIO = 1_000


class Proxy:
    """Hands bytes on to ``place``, both ways, until ``cut``."""

    def __init__(self, place: str) -> None:
        host, port = place.rsplit(":", 1)
        self._to = (host, int(port))
        self._open: set[asyncio.StreamWriter] = set()
        #: How many connections there were.
        self.count = 0
        #: Set while there is a connection that carried audio.
        self.opened = asyncio.Event()
        self._swallowed: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Drop all connections at once: what is on its way is lost."""
        self.opened.clear()
        for writer in self._open:
            writer.transport.abort()

    def swallow(self) -> None:
        """From now on take what the connections that there are send, and hand on nothing; none is closed."""
        self._swallowed |= self._open

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.count += 1
        there, back = await asyncio.open_connection(*self._to)
        ends = {writer, back}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, upwards=True))
                group.create_task(self._pump(there, writer, upwards=False))
        finally:
            self._open -= ends
            self._swallowed -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        carried = 0
        with suppress(OSError):
            while data := await reader.read(2_048):
                carried += len(data)
                if upwards and carried > _NO_AUDIO:
                    self.opened.set()
                if writer not in self._swallowed:
                    writer.write(data)
                    await writer.drain()
        writer.transport.close()


@asynccontextmanager
async def proxy_to(place: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy to ``host:port`` and its own."""
    proxy = Proxy(place)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, f"127.0.0.1:{port}"
    finally:
        proxy.cut()
        server.close()
        await asyncio.sleep(0)
