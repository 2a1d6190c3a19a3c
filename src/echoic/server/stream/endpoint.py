"""ASGI application of a stream endpoint: authenticates and admits a client, then runs its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from echoic.auth.authenticator import Authenticator
from echoic.auth.identity import Identity, Scope
from echoic.auth.network import IpAddress
from echoic.errors import CLOSE_CODES, AccessRefused, ErrorCode, ProtocolError
from echoic.observability.logging import bind_log_context, log_event
from echoic.observability.stream_stats import StreamStats
from echoic.protocol.codec import encode_frame
from echoic.protocol.constants import CLOSE_INTERNAL_ERROR
from echoic.protocol.frames import Error, Status
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.stream_quota import StreamQuota
from echoic.server.middleware import find_request_address
from echoic.server.stream.connection import Connection
from echoic.server.stream.peer import PeerDisconnected, WebSocketPeer
from echoic.server.stream.resume import ResumeRequest, read_resume_request
from echoic.server.stream.services import (
    StreamHandle,
    StreamServices,
)
from echoic.session.config import StreamConfig
from echoic.session.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _QuotaHandle:
    """A stream's quota, and the function that settles and releases it."""

    quota: StreamQuota
    release: Callable[[], None]


class StreamEndpoint:
    """Serves WebSocket streams.

    Args:
        get_services: Returns the server's services; called for each stream, in the running event loop.
        authenticator: Authenticates the clients. If None, every client is admitted.
        fallback: Whether another model may stand in for one that is unavailable.
        ledger: Enforces the quotas of users. If None, there are no quotas.
    """

    def __init__(
        self,
        get_services: Callable[[], StreamServices],
        authenticator: Authenticator | None = None,
        *,
        fallback: bool = False,
        ledger: QuotaLedger | None = None,
    ) -> None:
        self._get_services = get_services
        self._authenticator = authenticator or Authenticator()
        self._fallback = fallback
        self._ledger = ledger

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket (ASGI)."""
        await receive()  # websocket.connect
        try:
            await send({"type": "websocket.accept"})
            services = self._get_services()
            peer = WebSocketPeer(receive, send)
            address = find_request_address(scope, services.trusted_proxies)
            with bind_log_context(stream=peer.name, address=str(address)):
                await self._serve_client(scope, address, peer, services)
        except (PeerDisconnected, OSError):  # disconnected before the stream began
            return

    async def _serve_client(
        self,
        scope: AsgiScope,
        address: IpAddress | None,
        peer: WebSocketPeer,
        services: StreamServices,
    ) -> None:
        try:
            identity = await self._authenticate_client(scope, address, peer)
            if services.resume_registry.has_sessions(identity.user):
                async with self._authenticator.limit_pending_connections():
                    request, peer = await read_resume_request(peer)
                if request is not None:
                    await self._resume_stream(request, identity, peer, services)
                    return
            await services.vocabulary.reload_changed_files()
            services.streams.check_admission()
            if self._ledger is None:
                await self._run_stream(identity, peer, services)
            else:
                await self._run_with_quota(self._ledger, identity, peer, services)
        except AccessRefused as refusal:
            await self._refuse_client(refusal, peer, services)

    async def _run_with_quota(
        self, ledger: QuotaLedger, identity: Identity, peer: WebSocketPeer, services: StreamServices
    ) -> None:
        quota = await ledger.open_stream(identity.user, identity.tier)
        settlements: list[asyncio.Task[None]] = []

        def release() -> None:
            settlements.append(ledger.close_stream(quota))

        try:
            services.streams.check_admission()  # again: other streams may have been opened meanwhile
        except AccessRefused:
            release()
            raise
        try:
            await self._run_stream(identity, peer, services, _QuotaHandle(quota, release))
        finally:
            if settlements:  # empty while the session waits for its client
                await asyncio.shield(settlements[0])

    async def _resume_stream(
        self, request: ResumeRequest, identity: Identity, peer: WebSocketPeer, services: StreamServices
    ) -> None:
        try:
            session = services.resume_registry.resume_session(request, identity.user, peer)
        except ProtocolError as error:
            raise AccessRefused(error.code, error.message) from None
        if services.revocation_monitor is not None and isinstance(session, Connection):
            # From now on the stream depends on the key that was presented last.
            services.revocation_monitor.follow_stream(session, identity)
        services.metrics.resumed_streams.inc()
        await session.serve_peer(peer)

    async def _authenticate_client(
        self, scope: AsgiScope, address: IpAddress | None, peer: WebSocketPeer
    ) -> Identity:
        self._authenticator.check_origin(scope["headers"])
        identity = await self._authenticator.authenticate_request(scope, Scope.STREAM, address)
        if identity is not None:
            return identity
        identity = await self._authenticator.authenticate_first_message(peer.receive_message, address)
        await peer.send({"type": "websocket.send", "text": encode_frame(Status(state="authenticated"))})
        return identity

    async def _refuse_client(
        self, refusal: AccessRefused, peer: WebSocketPeer, services: StreamServices
    ) -> None:
        detail = refusal.detail
        if refusal.code is ErrorCode.SERVER_BUSY:
            detail = {"retry_after": services.streams.retry_after, **detail}
        frame = Error(code=refusal.code, message=refusal.message, detail=detail)
        code = CLOSE_CODES[refusal.code] or CLOSE_INTERNAL_ERROR
        services.metrics.count_sent(frame)
        services.metrics.count_close(code)
        log_event(log, logging.WARNING, "stream.refused", code=refusal.code)
        await peer.send({"type": "websocket.send", "text": encode_frame(frame)})
        await peer.send({"type": "websocket.close", "code": code, "reason": ""})

    async def _run_stream(
        self,
        identity: Identity,
        peer: WebSocketPeer,
        services: StreamServices,
        quota_handle: _QuotaHandle | None = None,
    ) -> None:
        quota = quota_handle.quota if quota_handle else None
        stats = StreamStats(services.metrics, quota.grant_audio if quota else None)
        owner = {"user": identity.user, "key": identity.key_id}

        def on_closed(code: int) -> None:
            services.streams.remove_stream(connection)
            if services.revocation_monitor is not None:
                services.revocation_monitor.forget_stream(connection)
            summary = stats.summarize_end(code)
            log_event(log, logging.INFO, "stream.closed", stream=peer.name, **owner, **summary)
            if quota_handle is not None:
                quota_handle.release()

        handle = StreamHandle(peer.name, services.resume_registry, identity.user, on_closed)
        session = _build_session(services, stats, peer.name)
        connection = Connection(session, services, handle, fallback=self._fallback, stats=stats, quota=quota)
        services.streams.add_stream(connection)
        if services.revocation_monitor is not None:
            services.revocation_monitor.follow_stream(connection, identity)
        services.metrics.opened_streams.inc()
        log_event(log, logging.INFO, "stream.opened", **owner, open=len(services.streams))
        connection.start(peer)
        await connection.serve_peer(peer)


def _build_session(services: StreamServices, stats: StreamStats, name: str) -> Session:
    return Session(
        services.build_detector,
        StreamConfig(vocabulary=services.vocabulary.current),
        stats.grant_samples,
        capabilities=services.addons.capabilities,
        recording=f"{name}.wav",
    )
