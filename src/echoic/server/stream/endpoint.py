"""A WebSocket endpoint as a bare ASGI application: lets the client in, then drives its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from echoic.auth.authenticator import Authenticator
from echoic.auth.identity import Identity, Scope
from echoic.auth.network import AddressList, IpAddress
from echoic.auth.revocation import RevocationMonitor
from echoic.errors import CLOSE_CODES, AccessRefused, ErrorCode, ProtocolError
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.logging import bind_log_context, log_event
from echoic.observability.stream_stats import StreamStats
from echoic.protocol.codec import encode_frame
from echoic.protocol.frames import Error, Status
from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.stream_quota import StreamQuota
from echoic.server.middleware import find_request_address
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.connection import Connection
from echoic.server.stream.resume import ResumableSessions, ResumeRequest, read_resume_request
from echoic.server.stream.services import (
    PeerDisconnected,
    StreamServices,
    StreamSlot,
    WebSocketPeer,
)
from echoic.server.vocabulary_files import ServerVocabulary
from echoic.session.config import StreamConfig
from echoic.session.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """What a stream needs of the server it runs in.

    Attributes:
        services: What every stream shares.
        streams: The open ones.
        build_vad: Makes a voice-activity detector for a stream, or None: every window is decoded.
        revocation_monitor: Ends streams whose keys were revoked, or None: there are no such keys.
        trusted_proxies: Those whose word about a client's address counts.
        resumable_sessions: The sessions that can be taken up again.
        vocabulary: What the server brings to every session.
    """

    services: StreamServices
    streams: StreamAdmission
    build_vad: Callable[[], VoiceActivityDetector] | None = None
    revocation_monitor: RevocationMonitor | None = None
    trusted_proxies: AddressList = field(default_factory=AddressList)
    resumable_sessions: ResumableSessions = field(default_factory=ResumableSessions)
    vocabulary: ServerVocabulary = field(default_factory=ServerVocabulary)


@dataclass(frozen=True, slots=True)
class _QuotaHandle:
    """A stream's account, and what gives it back."""

    quota: StreamQuota
    release: Callable[[], None]


class StreamEndpoint:
    """Serves streams.

    Args:
        get_context: Called for each stream, in the running server.
        authenticator: Who may.
        fallback: Whether another model may answer when the one asked for cannot.
        ledger: Where streams and their minutes are counted; None: nobody counts them.
    """

    def __init__(
        self,
        get_context: Callable[[], EndpointContext],
        authenticator: Authenticator | None = None,
        *,
        fallback: bool = False,
        ledger: QuotaLedger | None = None,
    ) -> None:
        self._get_context = get_context
        self._authenticator = authenticator or Authenticator()
        self._fallback = fallback
        self._ledger = ledger

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket (ASGI)."""
        await receive()  # websocket.connect
        try:
            await send({"type": "websocket.accept"})
            service = self._get_context()
            peer = WebSocketPeer(receive, send)
            address = find_request_address(scope, service.trusted_proxies)
            with bind_log_context(stream=peer.name, address=str(address)):
                await self._serve_client(scope, address, peer, service)
        except (PeerDisconnected, OSError):  # gone before there was a stream
            return

    async def _serve_client(
        self,
        scope: AsgiScope,
        address: IpAddress | None,
        peer: WebSocketPeer,
        context: EndpointContext,
    ) -> None:
        try:
            identity = await self._authenticate_client(scope, address, peer)
            if context.resumable_sessions.has_sessions(
                identity.user
            ):  # such a user may have come for one of them
                async with self._authenticator.hold_pending_connection():
                    wish, peer = await read_resume_request(peer)
                if wish is not None:
                    await self._resume_stream(wish, identity, peer, context)
                    return
            await context.vocabulary.reload_changed_files()
            context.streams.check_admission()
            if self._ledger is None:
                await self._run_stream(identity, peer, context)
            else:
                await self._run_with_quota(self._ledger, identity, peer, context)
        except AccessRefused as refusal:
            await self._refuse_client(refusal, peer, context)

    async def _run_with_quota(
        self, ledger: QuotaLedger, identity: Identity, peer: WebSocketPeer, context: EndpointContext
    ) -> None:
        account = await ledger.open_stream(identity.user, identity.tier)
        leaving: list[asyncio.Task[None]] = []

        def leave() -> None:
            leaving.append(ledger.close_stream(account))

        try:
            context.streams.check_admission()  # others may have come in meanwhile
        except AccessRefused:
            leave()
            raise
        try:
            await self._run_stream(identity, peer, context, _QuotaHandle(account, leave))
        finally:
            if leaving:  # else the session waits for another client
                await asyncio.shield(leaving[0])

    async def _resume_stream(
        self, request: ResumeRequest, identity: Identity, peer: WebSocketPeer, context: EndpointContext
    ) -> None:
        try:
            session = context.resumable_sessions.resume_session(request, identity.user, peer)
        except ProtocolError as error:
            raise AccessRefused(error.code, error.message) from None
        if context.revocation_monitor is not None and isinstance(session, Connection):
            context.revocation_monitor.follow_stream(
                session, identity
            )  # it lasts as long as the key that was presented last
        context.services.metrics.resumed_streams.inc()
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
        self, refusal: AccessRefused, peer: WebSocketPeer, context: EndpointContext
    ) -> None:
        detail = refusal.detail
        if refusal.code is ErrorCode.SERVER_BUSY:
            detail = {"retry_after": context.streams.retry_after, **detail}
        frame = Error(code=refusal.code, message=refusal.message, detail=detail)
        code = CLOSE_CODES[refusal.code] or 1011
        context.services.metrics.count_sent(frame)
        context.services.metrics.count_close(code)
        log_event(log, logging.WARNING, "stream.refused", code=refusal.code)
        await peer.send({"type": "websocket.send", "text": encode_frame(frame)})
        await peer.send({"type": "websocket.close", "code": code, "reason": ""})

    async def _run_stream(
        self,
        identity: Identity,
        peer: WebSocketPeer,
        context: EndpointContext,
        quota_handle: _QuotaHandle | None = None,
    ) -> None:
        metrics = context.services.metrics
        account = quota_handle.quota if quota_handle else None
        who = {"user": identity.user, "key": identity.key_id}

        def over(code: int) -> None:
            context.streams.remove_stream(connection)
            if context.revocation_monitor is not None:
                context.revocation_monitor.forget_stream(connection)
            log_event(
                log, logging.INFO, "stream.closed", stream=peer.name, **who, **tally.summarize_end(code)
            )
            if quota_handle is not None:
                quota_handle.release()

        tally = StreamStats(metrics, account.grant_audio if account else None)
        defaults = StreamConfig(vocabulary=context.vocabulary.current)
        offers = context.services.addons.capabilities
        session = Session(
            context.build_vad,
            defaults,
            tally.grant_samples,
            capabilities=offers,
            recording=f"{peer.name}.wav",
        )
        stay = StreamSlot(peer.name, context.resumable_sessions, identity.user, over)
        connection = Connection(
            session, context.services, stay, fallback=self._fallback, stats=tally, quota=account
        )
        context.streams.add_stream(connection)
        if context.revocation_monitor is not None:
            context.revocation_monitor.follow_stream(connection, identity)
        metrics.opened_streams.inc()
        log_event(log, logging.INFO, "stream.opened", **who, open=len(context.streams))
        connection.start(peer)
        await connection.serve_peer(peer)
