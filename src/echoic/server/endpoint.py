"""A WebSocket endpoint as a bare ASGI application: lets the client in, then drives its stream."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoic.errors import CLOSE_CODES, AccessRefused, ErrorCode, ProtocolError
from echoic.limits.addresses import Networks
from echoic.limits.identity import Right
from echoic.server.connection import Connection
from echoic.server.guard import Guard
from echoic.server.kept import Kept, first_wish
from echoic.server.log import about, event
from echoic.server.means import Disconnected, Means, Peer, Stay
from echoic.server.neighbours import address_of
from echoic.server.tally import Tally
from echoic.server.vocabulary import HouseVocabulary
from echoic.session.config import StreamConfig
from echoic.session.core import Session
from echoic.wire.codec import encode_frame
from echoic.wire.frames import Error, Status

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from echoic.audio.speech import VoiceActivity
    from echoic.limits.account import Account
    from echoic.limits.addresses import Address
    from echoic.limits.desk import Desk
    from echoic.limits.identity import Identity
    from echoic.server.kept import Wish
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend
    from echoic.server.streams import Streams
    from echoic.server.watch import KeyWatch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """What a stream needs of the server it runs in.

    Attributes:
        means: What every stream shares.
        streams: The open ones.
        voice: Makes a voice-activity detector for a stream, or None: every window is decoded.
        watch: Ends streams whose keys were revoked, or None: there are no such keys.
        proxies: Those whose word about a client's address counts.
        kept: The sessions that can be taken up again.
        vocabulary: What the server brings to every session.
    """

    means: Means
    streams: Streams
    voice: Callable[[], VoiceActivity] | None = None
    watch: KeyWatch | None = None
    proxies: Networks = field(default_factory=Networks)
    kept: Kept = field(default_factory=Kept)
    vocabulary: HouseVocabulary = field(default_factory=HouseVocabulary)


@dataclass(frozen=True, slots=True)
class _Accounting:
    """A stream's account, and what gives it back."""

    account: Account
    leave: Callable[[], None]


class StreamEndpoint:
    """Serves streams.

    Args:
        service: Called for each stream, in the running server.
        guard: Who may.
        fallback: Whether another model may answer when the one asked for cannot.
        desk: Where streams and their minutes are counted; None: nobody counts them.
    """

    def __init__(
        self,
        service: Callable[[], Service],
        guard: Guard | None = None,
        *,
        fallback: bool = False,
        desk: Desk | None = None,
    ) -> None:
        self._service = service
        self._guard = guard or Guard()
        self._fallback = fallback
        self._desk = desk

    async def __call__(self, scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        """Serve one WebSocket (ASGI)."""
        await receive()  # websocket.connect
        try:
            await send({"type": "websocket.accept"})
            service = self._service()
            peer = Peer(receive, send)
            address = address_of(scope, service.proxies)
            with about(stream=peer.name, address=str(address)):
                await self._serve(scope, address, peer, service)
        except (Disconnected, OSError):  # gone before there was a stream
            return

    async def _serve(
        self, scope: MutableMapping[str, Any], address: Address | None, peer: Peer, service: Service
    ) -> None:
        try:
            identity = await self._let_in(scope, address, peer)
            if service.kept.knows(identity.user):  # such a user may have come for one of them
                async with self._guard.place():
                    wish, peer = await first_wish(peer)
                if wish is not None:
                    await self._take_up(wish, identity, peer, service)
                    return
            await service.vocabulary.refresh()
            service.streams.admit()
            if self._desk is None:
                await self._run(identity, peer, service)
            else:
                await self._run_counted(self._desk, identity, peer, service)
        except AccessRefused as refusal:
            await self._refuse(refusal, peer, service)

    async def _run_counted(self, desk: Desk, identity: Identity, peer: Peer, service: Service) -> None:
        account = await desk.open(identity)
        leaving: list[asyncio.Task[None]] = []

        def leave() -> None:
            leaving.append(desk.leave(account))

        try:
            service.streams.admit()  # others may have come in meanwhile
        except AccessRefused:
            leave()
            raise
        try:
            await self._run(identity, peer, service, _Accounting(account, leave))
        finally:
            if leaving:  # else the session waits for another client
                await asyncio.shield(leaving[0])

    async def _take_up(self, wish: Wish, identity: Identity, peer: Peer, service: Service) -> None:
        try:
            session = service.kept.take_up(wish, identity.user, peer)
        except ProtocolError as error:
            raise AccessRefused(error.code, error.message) from None
        if service.watch is not None and isinstance(session, Connection):
            service.watch.follow(session, identity)  # it lasts as long as the key that was presented last
        service.means.metrics.resumed.inc()
        await session.serve(peer)

    async def _let_in(self, scope: MutableMapping[str, Any], address: Address | None, peer: Peer) -> Identity:
        self._guard.check_origin(scope["headers"])
        identity = await self._guard.admits(scope, Right.STREAM, address)
        if identity is not None:
            return identity
        identity = await self._guard.hear(peer.message, address)
        await peer.send({"type": "websocket.send", "text": encode_frame(Status(state="authenticated"))})
        return identity

    async def _refuse(self, refusal: AccessRefused, peer: Peer, service: Service) -> None:
        detail = refusal.detail
        if refusal.code is ErrorCode.SERVER_BUSY:
            detail = {"retry_after": service.streams.retry, **detail}
        frame = Error(code=refusal.code, message=refusal.message, detail=detail)
        code = CLOSE_CODES[refusal.code] or 1011
        service.means.metrics.sent(frame)
        service.means.metrics.closed(code)
        event(log, logging.WARNING, "stream.refused", code=refusal.code)
        await peer.send({"type": "websocket.send", "text": encode_frame(frame)})
        await peer.send({"type": "websocket.close", "code": code, "reason": ""})

    async def _run(
        self, identity: Identity, peer: Peer, service: Service, accounting: _Accounting | None = None
    ) -> None:
        metrics = service.means.metrics
        account = accounting.account if accounting else None
        who = {"user": identity.user, "key": identity.key_id}

        def over(code: int) -> None:
            service.streams.leave(connection)
            if service.watch is not None:
                service.watch.forget(connection)
            event(log, logging.INFO, "stream.closed", stream=peer.name, **who, **tally.ended(code))
            if accounting is not None:
                accounting.leave()

        tally = Tally(metrics, account.grant if account else None)
        defaults = StreamConfig(vocabulary=service.vocabulary.now)
        offers = service.means.addons.offers
        session = Session(service.voice, defaults, tally.grant, offers=offers, recording=f"{peer.name}.wav")
        stay = Stay(peer.name, service.kept, identity.user, over)
        connection = Connection(
            session, service.means, stay, fallback=self._fallback, tally=tally, account=account
        )
        service.streams.enter(connection)
        if service.watch is not None:
            service.watch.follow(connection, identity)
        metrics.opened.inc()
        event(log, logging.INFO, "stream.opened", **who, open=len(service.streams))
        connection.start(peer)
        await connection.serve(peer)
