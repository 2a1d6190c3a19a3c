"""Uvicorn's HTTP, bounded in the time that a request may take to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio


class TimedHttpProtocol(H11Protocol):
    """A connection on which requests come, until it becomes a WebSocket.

    Beyond uvicorn's own: who says nothing, or a header now and then, is hung up on. By h11 the length of what
    comes before a body is bounded too: 64 KiB.
    """

    #: Seconds from the connection, or the first byte of a later request, to the end of its headers.
    request_timeout: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take what came from the client."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()
        else:
            self._cancel_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._cancel_timer()
        super().connection_lost(exc)

    @classmethod
    def with_timeout(cls, seconds: float) -> type[TimedHttpProtocol]:
        """Return the same with another patience."""
        return type(cls.__name__, (cls,), {"patience": seconds})

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_timeout, self._close_timed_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_timed_out(self) -> None:
        self._timer = None
        if self.transport.get_protocol() is self:  # else it has become a WebSocket
            self.transport.close()
