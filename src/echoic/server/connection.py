"""The driver of one stream: messages to the session, the session's effects to the client and the engines."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from msgspec import UNSET

from echoic.errors import (
    CLOSE_CODES,
    CLOSE_GOING_AWAY,
    CLOSE_NORMAL,
    CLOSE_TAKEN_UP,
    EchoicError,
    ErrorCode,
    ModelUnavailable,
    ProtocolError,
)
from echoic.server.addons import AddOns
from echoic.server.bucket import Bucket
from echoic.server.kept import Record, Tail, read_wish, resume_failed
from echoic.server.lag import Lag
from echoic.server.log import event, place_of
from echoic.server.marks import Level
from echoic.server.means import Disconnected
from echoic.server.outbox import CLOSE_ABNORMAL, Outbox
from echoic.session.config import read_config
from echoic.session.effects import (
    Again,
    Close,
    Decode,
    Drop,
    Effect,
    Listen,
    ModelAnswer,
    OpenModel,
    Review,
    Send,
    Store,
    Unstore,
)
from echoic.wire.codec import decode_message, encode_frame
from echoic.wire.frames import Audio, Config, Configured, Error, Resumed, Warning  # noqa: A004  # the protocol's word

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from echoic.errors import DecodeFailed
    from echoic.limits.account import Account
    from echoic.server.log import Value
    from echoic.server.means import Means, Peer, Stay
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
#: Close codes by which a client says that it does not want to come back.
_FAREWELLS = (1000, 1001)
#: Seconds that it may take to tell a client that another has its place.
_TURN_AWAY_SECONDS = 2.0
#: Seconds for which messages that are there already are taken before others have their turn.
_TURN_SECONDS = 0.001

#: The lag of finals is looked at so often at most while nothing else happens.
_LOOK_SECONDS = 0.01


class Connection:
    """Drives one session until it is closed or its client is gone; then nothing of it is left anywhere.

    A session that was asked to be resumable waits for another client, for a while, and hears and decodes on.

    Args:
        session: Fresh.
        means: What all streams share.
        stay: Its place in the server.
        fallback: Whether another model may answer when the one asked for cannot.
        tally: Of this stream; the session asks it what may be heard.
        account: What the stream may hear, or None: everything.
    """

    def __init__(
        self,
        session: Session,
        means: Means,
        stay: Stay,
        *,
        fallback: bool,
        tally: Tally,
        account: Account | None = None,
    ) -> None:
        self.name = stay.name
        self._tally = tally
        self._account = account
        self._session = session
        self._stay = stay
        self._peer: Peer | None = None
        self._about = copy_context()
        self._engines, self._limits, self._waters = means.engines, means.limits, means.waters
        self._fallback = fallback
        self._outbox = Outbox(None, means.limits.outbox, self._moved)
        self._room = asyncio.Event()
        self._level = Level()
        self._lag = Lag(means.limits.behind)
        self._messages_left = Bucket(means.limits.rates.messages, 2 * means.limits.rates.messages)
        self._audio_left = Bucket(means.limits.rates.audio, means.limits.backlog.high)
        self._patience: asyncio.Timeout | None = None
        self._opening: set[asyncio.Task[ModelAnswer]] = set()
        self._paying: asyncio.Task[None] | None = None
        self._timers: dict[Callable[..., None], asyncio.TimerHandle] = {}
        self._heard_at = 0.0
        self._said = session.config  # what the client last asked for: its audio is of that form at once
        self._messages = self._samples = 0
        self._token = ""
        self._ending = self._broken = self._gone = False
        self._farewell: Error | None = None
        self._addons = AddOns(means.addons, stay.name, session, self._send, self._advance)
        self._parting: asyncio.Task[None] | None = None

    @property
    def is_behind(self) -> bool:
        """Whether its finals come late."""
        return self._lag.is_behind

    def start(self, peer: Peer) -> None:
        """Begin with its first client."""
        self._peer, self._about = peer, copy_context()
        self._outbox.attach(peer.send)
        self._heard_at = asyncio.get_running_loop().time()
        self._after(self._limits.idle, self._look_at_clock)
        if self._limits.longest:
            self._after(self._limits.longest, self._time_is_up)

    def resume(self, peer: Peer, received: int) -> bool:
        """Go on with this client, which has the frames up to ``received``; False: that cannot be.

        Whoever was served until now is turned away.
        """
        record = self._outbox.record
        frames = None if record is None or self._gone else record.since(received)
        if frames is None:
            return False
        if (grace := self._timers.pop(self._give_up, None)) is not None:
            grace.cancel()
        self._stop_reading()
        self._peer, self._about = peer, copy_context()
        self._heard_at = asyncio.get_running_loop().time()
        self._outbox.attach(peer.send, (encode_frame(self._arrived), *frames))
        self._log(logging.INFO, "stream.resumed")
        self._room.set()
        return True

    async def serve(self, peer: Peer) -> None:
        """Serve a client until it is gone, another takes its place, or the stream is over."""
        code, goes_on = CLOSE_ABNORMAL, False
        try:
            code = await self._listen(peer)
            goes_on = self._peer is not peer or self._waits_after(code)
        finally:
            if not goes_on and self._peer is peer:
                self._finish(code)
        if self._peer is not None and self._peer is not peer:
            await _turn_away(peer)

    def end(self, code: int, error: Error | None = None) -> None:
        """Deliver what was heard, then ``error``, and close with ``code``; what comes later is not heard."""
        if self._ending:
            return
        self._ending = True
        self._farewell = error
        if self._broken:
            self._after(BROKEN_SECONDS, self.cut, code)
        else:
            self._give_time(code)
        self._advance(self._session.end, code, error)

    def cut(self, code: int) -> None:
        """Close with ``code`` without delivering what still waits, but for the reason why."""
        self._outbox.forget()
        if self._farewell is not None:
            self._send(self._farewell)
        self._outbox.close(code)

    # ---- the client speaks

    async def _listen(self, peer: Peer) -> int:
        """Hear a client until it is gone or ``_stop_reading``; return the close code."""
        try:
            async with asyncio.timeout(None) as patience:  # left at once when the outbox has sent the close
                self._patience = patience
                await self._read(peer)
        except Disconnected as gone:
            return gone.code
        except TimeoutError:
            pass
        finally:
            if self._patience is patience:
                self._patience = None
        return self._outbox.code or CLOSE_ABNORMAL

    def _stop_reading(self) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(0.0)

    async def _read(self, peer: Peer) -> None:
        clock = asyncio.get_running_loop().time
        turn = clock()
        while True:
            await self._may_read()
            message = await peer.message()
            if self._peer is not peer:  # another has taken its place, and sends again what is not counted
                return
            self._heard_at = clock()
            self._advance(self._hear, message)
            if clock() - turn > _TURN_SECONDS:  # messages that are there already come without a pause
                await asyncio.sleep(0)
                turn = clock()

    async def _may_read(self) -> None:
        """Wait until the stream has room, and the client has not said more than its rates allow.

        What it sends meanwhile stays in its connection, whose other end then has to wait: nothing is lost.
        """
        clock = asyncio.get_running_loop().time
        while True:
            while self._is_crowded:
                self._room.clear()
                await self._room.wait()
            now = clock()
            pause = max(self._messages_left.wait(now), self._audio_left.wait(now))
            if not pause:
                return
            await asyncio.sleep(pause)

    def _hear(self, message: str | bytes) -> list[Effect]:
        self._messages += 1
        self._messages_left.take(1, self._heard_at)
        frame = decode_message(message)
        if isinstance(frame, Config):
            if read_wish(frame) is not None:
                raise resume_failed()  # here it is too late, and the endpoint knows of none
            with suppress(ProtocolError):  # the session tells it when it comes to it
                self._said, _ = read_config(frame.values, self._said)
        if isinstance(frame, Audio):
            samples = len(frame.data) // self._said.bytes_per_sample
            self._samples += samples
            self._audio_left.take(samples / self._said.sample_rate, self._heard_at)
        self._tally.received(frame)
        return self._session.receive(frame)

    @property
    def _is_crowded(self) -> bool:
        marks = self._limits.backlog.under(self._waters.share)
        return self._level.at(self._session.backlog, marks) or self._session.full or self._outbox.crowded

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
            self._give_time(CLOSE_BROKEN)
        self._measure()
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
            case Listen() | Review() | Store() | Unstore():
                self._addons.carry_out(effect)
            case Close(code, reason):
                self._ending = True
                self._close(code, reason)
            case _:
                assert_never(effect)

    def _send(self, frame: ServerFrame) -> None:
        if isinstance(frame, Configured):
            frame = self._with_token(frame)
        if frame is self._farewell:
            self._farewell = None
        self._tally.sent(frame)
        if isinstance(frame, Error):
            self._log(logging.DEBUG, "stream.error", code=frame.code)
        self._outbox.put(frame)
        self._addons.saw(frame)
        if self._outbox.record is not None and self._outbox.record.overflows:
            asyncio.get_running_loop().call_soon(self._give_up, CLOSE_ABNORMAL)

    def _close(self, code: int, reason: str) -> None:
        """Close, once the last insight is there if the client said stop."""
        if code != CLOSE_NORMAL or not self._addons.has_last_words:
            self._outbox.close(code, reason)
            return
        self._parting = asyncio.get_running_loop().create_task(self._addons.last_words())

        def part(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                self._outbox.close(code, reason)

        self._parting.add_done_callback(part)

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
            self._said = self._session.config
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

    def _log(self, level: int, name: str, **values: Value) -> None:
        """Log an event with its client's address, whoever it was that made it happen."""
        self._about.run(event, log, level, name, stream=self.name, **values)

    def _break(self, error: BaseException) -> None:
        self._log(logging.ERROR, "stream.broken", kind=type(error).__name__, at=place_of(error))
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

    def _give_time(self, code: int, delivered: int = -1) -> None:
        """Cut the stream off once it delivers nothing more of what it heard."""
        _, now = self._session.progress
        if now == delivered:
            self.cut(code)
        else:
            self._after(self._limits.closing, self._give_time, code, now)

    def _time_is_up(self) -> None:
        limit = self._limits.longest
        message = f"A stream may last {limit:g} s here, and this one has."
        error = Error(code=ErrorCode.TIME_LIMIT, message=message, detail={"limit": limit})
        self.end(CLOSE_GOING_AWAY, error)

    def _measure(self) -> None:
        """Look how much waits, and how late the finals are."""
        if self._gone:
            return
        self._waters.note(self, self._session.backlog)
        now = asyncio.get_running_loop().time()
        lag = self._lag
        lag.note(*self._session.progress, now)
        self._session.partial_pace = lag.pace(now)
        if lag.falls(now) and not self._ending:
            seconds = math.ceil(1000 * lag.seconds(now)) / 1000  # up: it is more than the mark
            message = f"The server falls behind: finals come {seconds:.1f} s late, and partials less often."
            self._send(Warning(code="falling_behind", message=message, lag=seconds))
        if lag.look_at is not None and self._look_at_lag not in self._timers:
            self._after(max(lag.look_at - now, _LOOK_SECONDS), self._look_at_lag)

    def _look_at_lag(self) -> None:
        self._timers.pop(self._look_at_lag, None)
        self._measure()

    def _moved(self) -> None:
        self._room.set()
        if self._outbox.code is None:
            return
        if self._peer is None:  # it is over while it waits for a client
            asyncio.get_running_loop().call_soon(self._give_up, self._outbox.code)
        self._stop_reading()

    # ---- another client

    @property
    def _arrived(self) -> Resumed:
        return Resumed(session=self.name, received_messages=self._messages, received_samples=self._samples)

    def _with_token(self, frame: Configured) -> Configured:
        """Return the status with what a client needs to take the session up, if it is to be resumable."""
        kept = self._stay.kept
        if frame.resumable is UNSET or not kept.grace.seconds:
            kept.forget(self.name)
            self._outbox.record = None
            return frame if frame.resumable is UNSET else replace(frame, resumable=False)
        if self._outbox.record is None:
            self._outbox.record = Record(kept.grace.size)
            self._token = kept.add(self.name, self._stay.user, self)
        return replace(frame, session=self.name, resume_token=self._token, resume_seconds=kept.grace.seconds)

    def _waits_after(self, code: int) -> bool:
        """Return whether the session waits for another client, now that its own is gone, and begin to."""
        if self._gone or self._outbox.goodbye is not None or code in _FAREWELLS:
            return False
        if self._outbox.record is None or not self._stay.kept.wait(self.name):
            return False
        self._log(logging.INFO, "stream.waits")
        self._peer = None
        self._outbox.detach()
        self._after(self._stay.kept.grace.seconds, self._give_up, CLOSE_ABNORMAL)
        return True

    def _leave_tail(self) -> None:
        """Keep what the client may not have received of a stream that came to its end."""
        record, goodbye = self._outbox.record, self._outbox.goodbye
        if record is not None and goodbye is not None:
            self._stay.kept.leave(self.name, Tail(self._arrived, record, goodbye))
        else:
            self._stay.kept.forget(self.name)

    def _give_up(self, code: int) -> None:
        if self._peer is None:  # else a client came just now
            self._finish(code)

    def _finish(self, code: int) -> None:
        if self._gone:
            return
        self._gone = True
        self._waters.note(self, 0.0)
        self._leave_tail()
        self._free()
        self._stay.over(code)

    def _free(self) -> None:
        self._outbox.abandon()
        self._tally.left_out(self._outbox.dropped)
        self._engines.leave(self)
        self._addons.close()
        if self._parting is not None:
            self._parting.cancel()
        for task in self._opening:
            task.cancel()
        if self._paying is not None:
            self._paying.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


async def _turn_away(peer: Peer) -> None:
    reason = "Another connection took up this session."
    with suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(_TURN_AWAY_SECONDS):
            await peer.send({"type": "websocket.close", "code": CLOSE_TAKEN_UP, "reason": reason})
