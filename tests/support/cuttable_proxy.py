"""A TCP proxy on loopback that can cut or mute its connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of a client's handshake and config.
_HANDSHAKE_BYTES = 1_000


class CuttableProxy:
    """Forwards bytes to ``address`` and back until ``cut_connections``."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._target = (host, int(port))
        self._writers: set[asyncio.StreamWriter] = set()
        #: Number of connections so far.
        self.connection_count = 0
        #: Set while a connection that carried audio is open.
        self.audio_seen = asyncio.Event()
        self._muted_writers: set[asyncio.StreamWriter] = set()

    def cut_connections(self) -> None:
        """Abort all connections; bytes in flight are lost."""
        self.audio_seen.clear()
        for writer in self._writers:
            writer.transport.abort()

    def mute_connections(self) -> None:
        """Discard all further bytes of the open connections without closing them."""
        self._muted_writers |= self._writers

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connection_count += 1
        there, back = await asyncio.open_connection(*self._target)
        ends = {writer, back}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump_bytes(reader, back, upwards=True))
                group.create_task(self._pump_bytes(there, writer, upwards=False))
        finally:
            self._writers -= ends
            self._muted_writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump_bytes(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        carried = 0
        with suppress(OSError):
            while data := await reader.read(2_048):
                carried += len(data)
                if upwards and carried > _HANDSHAKE_BYTES:
                    self.audio_seen.set()
                if writer not in self._muted_writers:
                    writer.write(data)
                    await writer.drain()
        writer.transport.close()


@asynccontextmanager
async def open_proxy(address: str) -> AsyncIterator[tuple[CuttableProxy, str]]:
    """Yield a proxy to ``host:port``, and the proxy's own address."""
    proxy = CuttableProxy(address)
    server = await asyncio.start_server(proxy.serve_connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, f"127.0.0.1:{port}"
    finally:
        proxy.cut_connections()
        server.close()
        await asyncio.sleep(0)
