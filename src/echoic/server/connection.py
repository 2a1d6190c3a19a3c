"""The driver of one stream: messages to the session, the session's effects to the client and the engines."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, assert_never

from echoic.errors import (
    CLOSE_CODES,
    CLOSE_GOING_AWAY,
    EchoicError,
    ErrorCode,
    ModelUnavailable,
    ProtocolError,
)
from echoic.server.log import event, place_of
from echoic.server.means import Disconnected
from echoic.server.outbox import CLOSE_ABNORMAL, Outbox
from echoic.session.effects import Again, Close, Decode, Drop, Effect, ModelAnswer, OpenModel, Send
from echoic.wire.codec import decode_message
from echoic.wire.frames import Error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from echoic.errors import DecodeFailed
    from echoic.limits.account import Account
    from echoic.server.means import Means, Peer
    from echoic.server.tally import Tally
    from echoic.session.core import Session
    from echoic.session.effects import ModelRequest
    from echoic.text.hypothesis import Hypothesis
    from echoic.wire.frames import ServerFrame

    P = ParamSpec("P")

log = logging.getLogger(__name__)

#: The close code of ``internal_error``.
CLOSE_BROKEN = 1011
#: Seconds that a session which failed may take to deliver what it can.
BROKEN_SECONDS = 5.0
#: Seconds for which messages that are there already are taken before others have their turn.
_TURN_SECONDS = 0.005


class Connection:
    """Drives one session until it is closed or its client is gone; then nothing of it is left anywhere.

    Args:
        session: Fresh.
        peer: The client.
        means: What all streams share.
        fallback: Whether another model may answer when the one asked for cannot.
        tally: Of this stream; the session asks it what may be heard.
        account: What the stream may hear, or None: everything.
    """

    def __init__(
        self,
        session: Session,
        peer: Peer,
        means: Means,
        *,
        fallback: bool,
        tally: Tally,
        account: Account | None = None,
    ) -> None:
        self.name = peer.name
        self._tally = tally
        self._account = account
        self._session = session
        self._peer = peer
        self._engines, self._limits = means.engines, means.limits
        self._fallback = fallback
        self._outbox = Outbox(peer.send, means.limits.outbox, self._moved)
        self._room = asyncio.Event()
        self._patience = asyncio.timeout(None)
        self._opening: set[asyncio.Task[ModelAnswer]] = set()
        self._paying: asyncio.Task[None] | None = None
        self._timers: dict[Callable[..., None], asyncio.TimerHandle] = {}
        self._heard_at = 0.0
        self._ending = self._broken = self._gone = False
        self._farewell: Error | None = None

    @property
    def backlog(self) -> float:
        """Seconds of audio heard that finals are due for."""
        return self._session.backlog

    async def run(self) -> int:
        """Serve the client until the end; return the close code."""
        self._heard_at = asyncio.get_running_loop().time()
        self._after(self._limits.idle, self._look_at_clock)
        try:
            async with self._patience:  # left at once when the outbox has sent the close
                await self._read()
        except Disconnected as gone:
            return gone.code
        except TimeoutError:
            pass
        finally:
            self._free()
        return self._outbox.code or CLOSE_ABNORMAL

    def end(self, code: int, error: Error | None = None) -> None:
        """Deliver what was heard, then ``error``, and close with ``code``; what comes later is not heard."""
        if self._ending:
            return
        self._ending = True
        self._farewell = error
        self._after(BROKEN_SECONDS if self._broken else self._limits.closing, self.cut, code)
        self._advance(self._session.end, code, error)

    def cut(self, code: int) -> None:
        """Close with ``code`` without delivering what still waits, but for the reason why."""
        self._outbox.forget()
        if self._farewell is not None:
            self._send(self._farewell)
        self._outbox.close(code)

    # ---- the client speaks

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        turn = clock()
        while True:
            while self._is_crowded:
                self._room.clear()
                await self._room.wait()
            message = await self._peer.message()
            self._heard_at = clock()
            self._advance(self._hear, message)
            if clock() - turn > _TURN_SECONDS:  # messages that are there already come without a pause
                await asyncio.sleep(0)
                turn = clock()

    def _hear(self, message: str | bytes) -> list[Effect]:
        frame = decode_message(message)
        self._tally.received(frame)
        return self._session.receive(frame)

    @property
    def _is_crowded(self) -> bool:
        session, limits = self._session, self._limits
        return session.backlog > limits.backlog or session.full or self._outbox.full

    # ---- the session speaks

    def _advance(self, step: Callable[P, list[Effect]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Take one step of the session and carry out what it asks: the edge where nothing goes past."""
        if self._gone:
            return
        try:
            for effect in step(*args, **kwargs):
                self._carry_out(effect)
        except ProtocolError as error:
            self._tell(error)
        except Exception as error:  # noqa: BLE001  # the connection's edge: the client is told, the others go on
            self._break(error)
        if self._account is not None and self._account.refusal is not None and not self._ending:
            self._tell(self._account.refusal)
        if self._session.ending and not self._ending:  # the client said stop
            self._ending = True
            message = "What was heard last could not be decoded in time."
            self._farewell = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
            self._after(self._limits.closing, self.cut, CLOSE_BROKEN)
        self._room.set()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(frame):
                self._send(frame)
            case Decode():
                self._engines.submit(self, effect, self._finished)
            case Drop(keys):
                self._engines.drop(self, keys)
            case OpenModel(request):
                self._open(request)
            case Again():
                self._go_on_soon()
            case Close(code, reason):
                self._ending = True
                self._outbox.close(code, reason)
            case _:
                assert_never(effect)

    def _send(self, frame: ServerFrame) -> None:
        if frame is self._farewell:
            self._farewell = None
        self._tally.sent(frame)
        if isinstance(frame, Error):
            event(log, logging.DEBUG, "stream.error", stream=self.name, code=frame.code)
        self._outbox.put(frame)

    def _finished(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        self._advance(self._session.finished, key, outcome)

    def _open(self, request: ModelRequest) -> None:
        task = asyncio.get_running_loop().create_task(
            self._engines.open(request, fallback=self._fallback, client=self)
        )
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _go_on_soon(self) -> None:
        """Proceed in the loop's next round, so that others have their turn, and when audio can be paid."""
        loop = asyncio.get_running_loop()
        if self._account is None or not self._account.is_waiting:
            loop.call_soon(self._advance, self._session.proceed)
            return
        self._paying = loop.create_task(self._account.ready())
        self._paying.add_done_callback(self._paid)

    def _paid(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._advance(self._session.proceed)
        else:
            self._break(error)

    def _opened(self, task: asyncio.Task[ModelAnswer]) -> None:
        self._opening.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._tally.answered(task.result())
            self._advance(self._session.opened, task.result())
        elif isinstance(error, ModelUnavailable):
            self._advance(self._session.opened, error)
        else:
            self._break(error)

    # ---- what goes wrong

    def _tell(self, error: EchoicError) -> None:
        frame = Error(code=error.code, message=error.message, detail=error.detail)
        close = CLOSE_CODES[error.code]
        if close is None:
            self._send(frame)
        else:
            self.end(close, frame)

    def _break(self, error: BaseException) -> None:
        event(
            log,
            logging.ERROR,
            "stream.broken",
            stream=self.name,
            kind=type(error).__name__,
            at=place_of(error),
        )
        message = "Something went wrong in the server. The stream ends here."
        frame = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
        if self._broken or self._ending:  # even the way out is broken
            self._farewell = frame
            self.cut(CLOSE_BROKEN)
        self._broken = True
        self.end(CLOSE_BROKEN, frame)

    # ---- time

    def _after(self, seconds: float, call: Callable[..., None], *args: int) -> None:
        self._timers[call] = asyncio.get_running_loop().call_later(seconds, call, *args)

    def _look_at_clock(self) -> None:
        silent = asyncio.get_running_loop().time() - self._heard_at
        if self._is_crowded or silent < self._limits.idle:
            self._after(max(self._limits.idle - silent, self._limits.idle / 2), self._look_at_clock)
            return
        message = f"Nothing was heard from the client for {self._limits.idle:g} s."
        self.end(CLOSE_GOING_AWAY, Error(code=ErrorCode.IDLE_TIMEOUT, message=message))

    def _moved(self) -> None:
        self._room.set()
        if self._outbox.code is not None:
            self._patience.reschedule(0.0)

    def _free(self) -> None:
        self._gone = True
        self._outbox.abandon()
        self._tally.left_out(self._outbox.dropped)
        self._engines.leave(self)
        for task in self._opening:
            task.cancel()
        if self._paying is not None:
            self._paying.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
