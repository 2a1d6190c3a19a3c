"""A WebSocket endpoint as a bare ASGI application: lets the client in, then drives its stream."""

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
from echoic.protocol.frames import Error, Status
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.stream_quota import StreamQuota
from echoic.server.middleware import find_request_address
from echoic.server.stream.connection import Connection
from echoic.server.stream.peer import PeerDisconnected, WebSocketPeer
from echoic.server.stream.resume import ResumeRequest, read_resume_request
from echoic.server.stream.services import (
    StreamServices,
    StreamSlot,
)
from echoic.session.config import StreamConfig
from echoic.session.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _QuotaHandle:
    """A stream's account, and what gives it back."""

    quota: StreamQuota
    release: Callable[[], None]


class StreamEndpoint:
    """Serves streams.

    Args:
        get_services: Called for each stream, in the running server.
        authenticator: Who may.
        fallback: Whether another model may answer when the one asked for cannot.
        ledger: Where streams and their minutes are counted; None: nobody counts them.
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
        except (PeerDisconnected, OSError):  # gone before there was a stream
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
            if services.resumable_sessions.has_sessions(
                identity.user
            ):  # such a user may have come for one of them
                async with self._authenticator.hold_pending_connection():
                    wish, peer = await read_resume_request(peer)
                if wish is not None:
                    await self._resume_stream(wish, identity, peer, services)
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
        account = await ledger.open_stream(identity.user, identity.tier)
        leaving: list[asyncio.Task[None]] = []

        def leave() -> None:
            leaving.append(ledger.close_stream(account))

        try:
            services.streams.check_admission()  # others may have come in meanwhile
        except AccessRefused:
            leave()
            raise
        try:
            await self._run_stream(identity, peer, services, _QuotaHandle(account, leave))
        finally:
            if leaving:  # else the session waits for another client
                await asyncio.shield(leaving[0])

    async def _resume_stream(
        self, request: ResumeRequest, identity: Identity, peer: WebSocketPeer, services: StreamServices
    ) -> None:
        try:
            session = services.resumable_sessions.resume_session(request, identity.user, peer)
        except ProtocolError as error:
            raise AccessRefused(error.code, error.message) from None
        if services.revocation_monitor is not None and isinstance(session, Connection):
            services.revocation_monitor.follow_stream(
                session, identity
            )  # it lasts as long as the key that was presented last
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
        code = CLOSE_CODES[refusal.code] or 1011
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
        metrics = services.metrics
        account = quota_handle.quota if quota_handle else None
        who = {"user": identity.user, "key": identity.key_id}

        def over(code: int) -> None:
            services.streams.remove_stream(connection)
            if services.revocation_monitor is not None:
                services.revocation_monitor.forget_stream(connection)
            log_event(
                log, logging.INFO, "stream.closed", stream=peer.name, **who, **tally.summarize_end(code)
            )
            if quota_handle is not None:
                quota_handle.release()

        tally = StreamStats(metrics, account.grant_audio if account else None)
        defaults = StreamConfig(vocabulary=services.vocabulary.current)
        offers = services.addons.capabilities
        session = Session(
            services.build_vad,
            defaults,
            tally.grant_samples,
            capabilities=offers,
            recording=f"{peer.name}.wav",
        )
        stay = StreamSlot(peer.name, services.resumable_sessions, identity.user, over)
        connection = Connection(session, services, stay, fallback=self._fallback, stats=tally, quota=account)
        services.streams.add_stream(connection)
        if services.revocation_monitor is not None:
            services.revocation_monitor.follow_stream(connection, identity)
        metrics.opened_streams.inc()
        log_event(log, logging.INFO, "stream.opened", **who, open=len(services.streams))
        connection.start(peer)
        await connection.serve_peer(peer)
