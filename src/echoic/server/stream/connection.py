"""Drives one stream: passes messages to the session and carries out the session's effects."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Final, ParamSpec, TypeVar, assert_never

from echoic.errors import CLOSE_CODES, DecodeFailed, EchoicError, ErrorCode, ModelUnavailable, ProtocolError
from echoic.interfaces.engine import Hypothesis, ModelRequest, OpenedModel
from echoic.observability.logging import LogValue, format_raise_location, log_event
from echoic.observability.stream_stats import StreamStats
from echoic.protocol import frames
from echoic.protocol.codec import decode_message
from echoic.protocol.constants import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_RESUMED_ELSEWHERE,
)
from echoic.protocol.frames import Audio, Config, Configured, Error, ServerFrame
from echoic.quotas.stream_quota import StreamQuota
from echoic.server.stream.addons import StreamAddOns
from echoic.server.stream.flow_control import FlowControl
from echoic.server.stream.outbox import Outbox
from echoic.server.stream.peer import PeerDisconnected, WebSocketPeer
from echoic.server.stream.resume import StreamResumption, build_resume_error, parse_resume_request
from echoic.server.stream.services import StreamHandle, StreamServices
from echoic.server.stream.timers import StreamTimers
from echoic.session.config import parse_config
from echoic.session.effects import (
    CancelDecodes,
    Close,
    Continue,
    Decode,
    Diarize,
    DiscardRecording,
    Effect,
    FinalizeDiarization,
    OpenModel,
    RecordAudio,
    Send,
)
from echoic.session.session import Session

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

#: Close codes of a client that will not resume.
_NORMAL_CLOSE_CODES: Final = (CLOSE_NORMAL, CLOSE_GOING_AWAY)
#: Seconds that the close of a replaced connection may take.
_REPLACED_CLOSE_SECONDS: Final = 2.0
#: Seconds for which messages that have already arrived are processed before other streams have a turn.
_READ_TURN_SECONDS: Final = 0.001
#: Seconds between two checks of the lag, at least, while nothing else happens.
_MIN_LAG_CHECK_SECONDS: Final = 0.01


class Connection:
    """Drives one session until it is closed or its client is gone for good, then releases everything.

    A resumable session continues for a while without a client and waits for the client to connect again.

    Args:
        session: A fresh session.
        services: The services that all streams of the server share.
        handle: The stream's id and user, and the registry of resumable sessions.
        fallback: Whether another model may be used instead of an unavailable one.
        stats: Counts this stream; the session asks it how many samples may be transcribed.
        quota: The stream's quota; None means no limit.
    """

    def __init__(
        self,
        session: Session,
        services: StreamServices,
        handle: StreamHandle,
        *,
        fallback: bool,
        stats: StreamStats,
        quota: StreamQuota | None = None,
    ) -> None:
        limits = services.limits
        self.name = handle.name
        self._session = session
        self._engines = services.engines
        self._fallback = fallback
        self._stats = stats
        self._quota = quota
        self._on_closed = handle.on_closed
        self._peer: WebSocketPeer | None = None
        self._log_context = copy_context()
        self._outbox = Outbox(None, limits.outbox, self._on_outbox_changed)
        self._flow = FlowControl(
            session,
            self._outbox,
            services.total_backlog,
            backlog=limits.backlog,
            lag_marks=limits.lag_marks,
            rates=limits.rates,
        )
        self._timers = StreamTimers(limits, session, self._flow, self.end_stream, self.close_now)
        self._resumption = StreamResumption(
            handle.name, handle.user, handle.resume_registry, self._outbox, self
        )
        self._addons = StreamAddOns(services.addons, handle.name, session, self._send_frame, self._run_step)
        self._read_timeout: asyncio.Timeout | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        #: What the client configured last; its audio is in that format from then on.
        self._requested_config = session.config
        self._is_ending = self._has_failed = self._is_finished = False
        self._closing_error: Error | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the stream's finals are late."""
        return self._flow.is_behind

    def start(self, peer: WebSocketPeer) -> None:
        """Attach the first client."""
        self._attach_peer(peer)
        self._outbox.attach_client(peer.send)
        self._timers.start()

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:
        """Attach a client that has the frames up to ``last_received``; return whether that was possible.

        The previous connection, if it is still open, is closed with ``CLOSE_RESUMED_ELSEWHERE``.
        """
        missed = None if self._is_finished else self._resumption.find_missed_frames(last_received)
        if missed is None:
            return False
        self._timers.cancel_timer(self._finish_if_abandoned)
        self._stop_reading()
        self._attach_peer(peer)
        self._timers.record_message()
        self._outbox.attach_client(peer.send, missed)
        self._log_event(logging.INFO, "stream.resumed")
        self._flow.notify_changed()
        return True

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Serve a client until it disconnects, another replaces it, or the stream is over."""
        code, goes_on = CLOSE_ABNORMAL, False
        try:
            code = await self._read_until_gone(peer)
            goes_on = self._peer is not peer or self._start_waiting(code)
        finally:
            if not goes_on and self._peer is peer:
                self._finish_stream(code)
        if self._peer is not None and self._peer is not peer:
            await _close_replaced_peer(peer)

    def end_stream(self, code: int, error: Error | None = None) -> None:
        """Deliver the results of the audio so far, then ``error``, and close with ``code``.

        Later messages of the client are ignored.
        """
        if self._is_ending:
            return
        self._is_ending = True
        self._closing_error = error
        self._timers.watch_end(code, has_failed=self._has_failed)
        self._run_step(self._session.end_stream, code, error)

    def close_now(self, code: int) -> None:
        """Close with ``code``; frames that are queued are dropped, except the error that ends the stream."""
        self._outbox.clear_queue()
        if self._closing_error is not None:
            self._send_frame(self._closing_error)
        self._outbox.close(code)

    # ---- messages from the client

    def _attach_peer(self, peer: WebSocketPeer) -> None:
        self._peer, self._log_context = peer, copy_context()

    async def _read_until_gone(self, peer: WebSocketPeer) -> int:
        """Read messages until the client disconnects or ``_stop_reading``; return the close code."""
        try:
            async with asyncio.timeout(None) as timeout:  # expires at once in ``_stop_reading``
                self._read_timeout = timeout
                await self._read_messages(peer)
        except PeerDisconnected as gone:
            return gone.code
        except TimeoutError:
            pass
        finally:
            if self._read_timeout is timeout:
                self._read_timeout = None
        return self._outbox.close_code or CLOSE_ABNORMAL

    def _stop_reading(self) -> None:
        if self._read_timeout is not None and not self._read_timeout.expired():
            self._read_timeout.reschedule(0.0)

    async def _read_messages(self, peer: WebSocketPeer) -> None:
        clock = asyncio.get_running_loop().time
        turn_began = clock()
        while True:
            await self._flow.wait_for_room()
            message = await peer.receive_message()
            if self._peer is not peer:  # replaced: the new connection sends again what was not counted
                return
            self._timers.record_message()
            self._run_step(self._receive_message, message)
            # Receiving a message that has already arrived does not yield to other tasks.
            if clock() - turn_began > _READ_TURN_SECONDS:
                await asyncio.sleep(0)
                turn_began = clock()

    def _receive_message(self, message: str | bytes) -> list[Effect]:
        self._resumption.count_message()
        self._flow.count_message(self._timers.last_message_at)
        frame = decode_message(message)
        if isinstance(frame, Config):
            if parse_resume_request(frame) is not None:  # only the first message of a connection may resume
                raise build_resume_error()
            with suppress(ProtocolError):  # the session reports it in its turn
                self._requested_config, _ = parse_config(frame.values, self._requested_config)
        if isinstance(frame, Audio):
            samples = len(frame.data) // self._requested_config.bytes_per_sample
            self._resumption.count_samples(samples)
            seconds = samples / self._requested_config.sample_rate
            self._flow.count_audio(seconds, self._timers.last_message_at)
        self._stats.count_received(frame)
        return self._session.receive(frame)

    # ---- effects of the session

    def _run_step(self, step: Callable[P, list[Effect]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a method of the session and carry out the effects it returns; any exception ends here."""
        if self._is_finished:
            return
        try:
            for effect in step(*args, **kwargs):
                self._execute_effect(effect)
        except ProtocolError as error:
            self._report_error(error)
        except Exception as error:  # noqa: BLE001  # the connection's edge: only this stream fails
            self._fail_stream(error)
        if self._quota is not None and self._quota.refusal is not None and not self._is_ending:
            self._report_error(self._quota.refusal)
        if self._session.is_ending and not self._is_ending:
            self._on_client_stopped()
        self._update_flow_control()
        self._flow.notify_changed()

    def _on_client_stopped(self) -> None:
        self._is_ending = True
        message = "The last audio could not be decoded in time."
        self._closing_error = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
        self._timers.watch_end(CLOSE_INTERNAL_ERROR)

    def _execute_effect(self, effect: Effect) -> None:
        match effect:
            case Send(frame):
                self._send_frame(frame)
            case Decode():
                self._engines.submit_decode(self, effect, self._on_decoded)
            case CancelDecodes(keys):
                self._engines.cancel_decodes(self, keys)
            case OpenModel(request):
                self._open_model(request)
            case Continue():
                self._schedule_continue()
            case Diarize() | FinalizeDiarization() | RecordAudio() | DiscardRecording():
                self._addons.execute_effect(effect)
            case Close(code, reason):
                self._is_ending = True
                self._close_after_insights(code, reason)
            case _:
                assert_never(effect)

    def _send_frame(self, frame: ServerFrame) -> None:
        if isinstance(frame, Configured):
            frame = self._resumption.update_status(frame)
        if frame is self._closing_error:
            self._closing_error = None
        self._stats.count_sent(frame)
        if isinstance(frame, Error):
            self._log_event(logging.DEBUG, "stream.error", code=frame.code)
        self._outbox.push_frame(frame)
        self._addons.on_frame_sent(frame)
        if self._resumption.has_overflowed:
            asyncio.get_running_loop().call_soon(self._finish_if_abandoned, CLOSE_ABNORMAL)

    def _close_after_insights(self, code: int, reason: str) -> None:
        """Close; if the client stopped the stream, wait for the last insight first."""
        if code != CLOSE_NORMAL or not self._addons.has_pending_insights:
            self._outbox.close(code, reason)
        else:
            self._start_task(self._addons.finish_insights(), lambda _: self._outbox.close(code, reason))

    def _on_decoded(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        self._run_step(self._session.on_decoded, key, outcome)

    def _schedule_continue(self) -> None:
        """Continue in the next round of the event loop, or once the audio is paid for."""
        if self._quota is None or not self._quota.is_waiting:
            asyncio.get_running_loop().call_soon(self._run_step, self._session.continue_audio)
        else:
            self._start_task(self._quota.wait_for_grant(), self._on_quota_granted)

    def _on_quota_granted(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if error is None:
            self._run_step(self._session.continue_audio)
        else:
            self._fail_stream(error)

    def _open_model(self, request: ModelRequest) -> None:
        opening = self._engines.open_model(request, fallback=self._fallback, client=self)
        self._start_task(opening, self._on_model_opened)

    def _on_model_opened(self, task: asyncio.Task[OpenedModel]) -> None:
        error = task.exception()
        if error is None:
            self._stats.on_model_opened(task.result())
            self._run_step(self._session.on_model_opened, task.result())
        elif isinstance(error, ModelUnavailable):
            self._run_step(self._session.on_model_opened, error)
            self._requested_config = self._session.config
        else:
            self._fail_stream(error)

    def _start_task(
        self, coroutine: Coroutine[object, object, T], on_done: Callable[[asyncio.Task[T]], None]
    ) -> None:
        """Run a coroutine, then ``on_done`` unless the stream has ended before."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)

        def finish(done: asyncio.Task[T]) -> None:
            self._tasks.discard(done)
            if not done.cancelled():
                on_done(done)

        task.add_done_callback(finish)

    # ---- errors

    def _report_error(self, error: EchoicError) -> None:
        frame = Error(code=error.code, message=error.message, detail=error.detail)
        close_code = CLOSE_CODES[error.code]
        if close_code is None:
            self._send_frame(frame)
        else:
            self.end_stream(close_code, frame)

    def _fail_stream(self, error: BaseException) -> None:
        self._log_event(
            logging.ERROR, "stream.broken", kind=type(error).__name__, at=format_raise_location(error)
        )
        message = "Internal server error. The stream ends here."
        frame = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
        if self._has_failed or self._is_ending:  # the session cannot even be ended
            self._closing_error = frame
            self.close_now(CLOSE_INTERNAL_ERROR)
        self._has_failed = True
        self.end_stream(CLOSE_INTERNAL_ERROR, frame)

    def _log_event(self, level: int, name: str, **values: LogValue) -> None:
        """Log an event in the context of the current client, whichever task caused it."""
        self._log_context.run(log_event, log, level, name, stream=self.name, **values)

    # ---- flow control

    def _update_flow_control(self) -> None:
        if self._is_finished:
            return
        now = asyncio.get_running_loop().time()
        lag = self._flow.update(now)
        if lag is not None and not self._is_ending:
            seconds = math.ceil(1000 * lag) / 1000  # rounded up: the lag exceeds the mark
            message = (
                f"The server is falling behind: finals arrive {seconds:.1f} s late, "
                "and partials are sent less often."
            )
            self._send_frame(frames.Warning(code="falling_behind", message=message, lag=seconds))
        check_at = self._flow.next_check_at
        if check_at is not None and not self._timers.is_running(self._check_lag):
            self._timers.start_timer(max(check_at - now, _MIN_LAG_CHECK_SECONDS), self._check_lag)

    def _check_lag(self) -> None:
        self._timers.cancel_timer(self._check_lag)
        self._update_flow_control()

    def _on_outbox_changed(self) -> None:
        self._flow.notify_changed()
        if self._outbox.close_code is None:
            return
        if self._peer is None:  # closed while the session waited for its client
            asyncio.get_running_loop().call_soon(self._finish_if_abandoned, self._outbox.close_code)
        self._stop_reading()

    # ---- the end

    def _start_waiting(self, code: int) -> bool:
        """Let the session wait for its client, which has just disconnected; return whether it does."""
        if self._is_finished or self._outbox.requested_close is not None or code in _NORMAL_CLOSE_CODES:
            return False
        if not self._resumption.try_wait():
            return False
        self._log_event(logging.INFO, "stream.waits")
        self._peer = None
        self._outbox.detach_client()
        self._timers.start_timer(self._resumption.wait_seconds, self._finish_if_abandoned, CLOSE_ABNORMAL)
        return True

    def _finish_if_abandoned(self, code: int) -> None:
        if self._peer is None:  # the client has not come back
            self._finish_stream(code)

    def _finish_stream(self, code: int) -> None:
        if self._is_finished:
            return
        self._is_finished = True
        self._flow.stop()
        self._resumption.finish()
        self._release_resources()
        self._on_closed(code)

    def _release_resources(self) -> None:
        self._outbox.stop()
        self._stats.count_dropped_partials(self._outbox.dropped_partials)
        self._engines.remove_client(self)
        self._addons.close()
        for task in self._tasks:
            task.cancel()
        self._timers.cancel_all()


async def _close_replaced_peer(peer: WebSocketPeer) -> None:
    reason = "Another connection has resumed this session."
    with suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(_REPLACED_CLOSE_SECONDS):
            await peer.send({"type": "websocket.close", "code": CLOSE_RESUMED_ELSEWHERE, "reason": reason})
