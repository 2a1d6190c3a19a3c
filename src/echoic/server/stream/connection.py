"""The driver of one stream: messages to the session, the session's effects to the client and the engines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import ParamSpec, assert_never

from msgspec import UNSET

from echoic.errors import CLOSE_CODES, DecodeFailed, EchoicError, ErrorCode, ModelUnavailable, ProtocolError
from echoic.interfaces.engine import Hypothesis, ModelRequest, OpenedModel
from echoic.observability.logging import LogValue, format_raise_location, log_event
from echoic.observability.stream_stats import StreamStats
from echoic.protocol.codec import decode_message, encode_frame
from echoic.protocol.constants import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_RESUMED_ELSEWHERE,
)
from echoic.protocol.frames import (  # the protocol's word
    Audio,
    Config,
    Configured,
    Error,
    Resumed,
    ServerFrame,
    Warning,  # noqa: A004  # the protocol's word
)
from echoic.quotas.stream_quota import StreamQuota
from echoic.server.stream.addons import StreamAddOns
from echoic.server.stream.flow_control import Hysteresis, LatencyMonitor, TokenBucket
from echoic.server.stream.outbox import Outbox
from echoic.server.stream.resume import (
    FinishedSession,
    ReplayBuffer,
    build_resume_error,
    parse_resume_request,
)
from echoic.server.stream.services import PeerDisconnected, StreamServices, StreamSlot, WebSocketPeer
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

log = logging.getLogger(__name__)

#: Seconds that a session which failed may take to deliver what it can.
FAILED_CLOSE_SECONDS = 5.0
#: Close codes by which a client says that it does not want to come back.
_NORMAL_CLOSE_CODES = (1000, 1001)
#: Seconds that it may take to tell a client that another has its place.
_REPLACED_CLOSE_SECONDS = 2.0
#: Seconds for which messages that are there already are taken before others have their turn.
_READ_TURN_SECONDS = 0.001

#: The lag of finals is looked at so often at most while nothing else happens.
_MIN_LAG_CHECK_SECONDS = 0.01


class Connection:
    """Drives one session until it is closed or its client is gone; then nothing of it is left anywhere.

    A session that was asked to be resumable waits for another client, for a while, and hears and decodes on.

    Args:
        session: Fresh.
        services: What all streams share.
        slot: Its place in the server.
        fallback: Whether another model may answer when the one asked for cannot.
        stats: Of this stream; the session asks it what may be heard.
        quota: What the stream may hear, or None: everything.
    """

    def __init__(
        self,
        session: Session,
        services: StreamServices,
        slot: StreamSlot,
        *,
        fallback: bool,
        stats: StreamStats,
        quota: StreamQuota | None = None,
    ) -> None:
        self.name = slot.name
        self._stats = stats
        self._quota = quota
        self._session = session
        self._slot = slot
        self._peer: WebSocketPeer | None = None
        self._log_context = copy_context()
        self._engines, self._limits, self._total_backlog = (
            services.engines,
            services.limits,
            services.total_backlog,
        )
        self._fallback = fallback
        self._outbox = Outbox(None, services.limits.outbox, self._on_outbox_changed)
        self._room_available = asyncio.Event()
        self._backlog_hysteresis = Hysteresis()
        self._latency = LatencyMonitor(services.limits.lag_marks)
        self._message_bucket = TokenBucket(
            services.limits.rates.messages_per_second, 2 * services.limits.rates.messages_per_second
        )
        self._audio_bucket = TokenBucket(services.limits.rates.audio_per_second, services.limits.backlog.high)
        self._read_timeout: asyncio.Timeout | None = None
        self._opening_tasks: set[asyncio.Task[OpenedModel]] = set()
        self._quota_task: asyncio.Task[None] | None = None
        self._timers: dict[Callable[..., None], asyncio.TimerHandle] = {}
        self._last_message_at = 0.0
        self._requested_config = (
            session.config
        )  # what the client last asked for: its audio is of that form at once
        self._received_messages = self._received_samples = 0
        self._resume_token = ""
        self._is_ending = self._has_failed = self._is_finished = False
        self._final_error: Error | None = None
        self._addons = StreamAddOns(services.addons, slot.name, session, self._send_frame, self._run_step)
        self._closing_task: asyncio.Task[None] | None = None

    @property
    def is_behind(self) -> bool:
        """Whether its finals come late."""
        return self._latency.is_behind

    def start(self, peer: WebSocketPeer) -> None:
        """Begin with its first client."""
        self._peer, self._log_context = peer, copy_context()
        self._outbox.attach_client(peer.send)
        self._last_message_at = asyncio.get_running_loop().time()
        self._start_timer(self._limits.idle_seconds, self._check_idle)
        if self._limits.max_seconds:
            self._start_timer(self._limits.max_seconds, self._on_max_duration)

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:
        """Go on with this client, which has the frames up to ``last_received``; False: that cannot be.

        Whoever was served until now is turned away.
        """
        record = self._outbox.replay_buffer
        frames = None if record is None or self._is_finished else record.find_frames_after(last_received)
        if frames is None:
            return False
        if (grace := self._timers.pop(self._finish_if_abandoned, None)) is not None:
            grace.cancel()
        self._stop_reading()
        self._peer, self._log_context = peer, copy_context()
        self._last_message_at = asyncio.get_running_loop().time()
        self._outbox.attach_client(peer.send, (encode_frame(self._resumed_frame), *frames))
        self._log_event(logging.INFO, "stream.resumed")
        self._room_available.set()
        return True

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Serve a client until it is gone, another takes its place, or the stream is over."""
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
        """Deliver what was heard, then ``error``, and close with ``code``; what comes later is not heard."""
        if self._is_ending:
            return
        self._is_ending = True
        self._final_error = error
        if self._has_failed:
            self._start_timer(FAILED_CLOSE_SECONDS, self.close_now, code)
        else:
            self._close_when_stalled(code)
        self._run_step(self._session.end_stream, code, error)

    def close_now(self, code: int) -> None:
        """Close with ``code`` without delivering what still waits, but for the reason why."""
        self._outbox.clear_queue()
        if self._final_error is not None:
            self._send_frame(self._final_error)
        self._outbox.close(code)

    # ---- the client speaks

    async def _read_until_gone(self, peer: WebSocketPeer) -> int:
        """Hear a client until it is gone or ``_stop_reading``; return the close code."""
        try:
            async with asyncio.timeout(None) as patience:  # left at once when the outbox has sent the close
                self._read_timeout = patience
                await self._read_messages(peer)
        except PeerDisconnected as gone:
            return gone.code
        except TimeoutError:
            pass
        finally:
            if self._read_timeout is patience:
                self._read_timeout = None
        return self._outbox.close_code or CLOSE_ABNORMAL

    def _stop_reading(self) -> None:
        if self._read_timeout is not None and not self._read_timeout.expired():
            self._read_timeout.reschedule(0.0)

    async def _read_messages(self, peer: WebSocketPeer) -> None:
        clock = asyncio.get_running_loop().time
        turn = clock()
        while True:
            await self._wait_for_room()
            message = await peer.receive_message()
            if self._peer is not peer:  # another has taken its place, and sends again what is not counted
                return
            self._last_message_at = clock()
            self._run_step(self._receive_message, message)
            if clock() - turn > _READ_TURN_SECONDS:  # messages that are there already come without a pause
                await asyncio.sleep(0)
                turn = clock()

    async def _wait_for_room(self) -> None:
        """Wait until the stream has room, and the client has not said more than its rates allow.

        What it sends meanwhile stays in its connection, whose other end then has to wait: nothing is lost.
        """
        clock = asyncio.get_running_loop().time
        while True:
            while self._is_congested:
                self._room_available.clear()
                await self._room_available.wait()
            now = clock()
            pause = max(self._message_bucket.compute_wait(now), self._audio_bucket.compute_wait(now))
            if not pause:
                return
            await asyncio.sleep(pause)

    def _receive_message(self, message: str | bytes) -> list[Effect]:
        self._received_messages += 1
        self._message_bucket.take_tokens(1, self._last_message_at)
        frame = decode_message(message)
        if isinstance(frame, Config):
            if parse_resume_request(frame) is not None:
                raise build_resume_error()  # here it is too late, and the endpoint knows of none
            with suppress(ProtocolError):  # the session tells it when it comes to it
                self._requested_config, _ = parse_config(frame.values, self._requested_config)
        if isinstance(frame, Audio):
            samples = len(frame.data) // self._requested_config.bytes_per_sample
            self._received_samples += samples
            self._audio_bucket.take_tokens(
                samples / self._requested_config.sample_rate, self._last_message_at
            )
        self._stats.count_received(frame)
        return self._session.receive(frame)

    @property
    def _is_congested(self) -> bool:
        marks = self._limits.backlog.cap_at(self._total_backlog.seconds_per_stream)
        return (
            self._backlog_hysteresis.update_level(self._session.backlog, marks)
            or self._session.is_full
            or self._outbox.is_congested
        )

    # ---- the session speaks

    def _run_step(self, step: Callable[P, list[Effect]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Take one step of the session and carry out what it asks: the edge where nothing goes past."""
        if self._is_finished:
            return
        try:
            for effect in step(*args, **kwargs):
                self._execute_effect(effect)
        except ProtocolError as error:
            self._report_error(error)
        except Exception as error:  # the connection's edge: the client is told, the others go on  # noqa: BLE001  # an add-on's call: the stream goes on without it
            self._fail_stream(error)
        if self._quota is not None and self._quota.refusal is not None and not self._is_ending:
            self._report_error(self._quota.refusal)
        if self._session.is_ending and not self._is_ending:  # the client said stop
            self._is_ending = True
            message = "What was heard last could not be decoded in time."
            self._final_error = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
            self._close_when_stalled(CLOSE_INTERNAL_ERROR)
        self._update_flow_control()
        self._room_available.set()

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
                self._schedule_proceed()
            case Diarize() | FinalizeDiarization() | RecordAudio() | DiscardRecording():
                self._addons.execute_effect(effect)
            case Close(code, reason):
                self._is_ending = True
                self._close_after_insights(code, reason)
            case _:
                assert_never(effect)

    def _send_frame(self, frame: ServerFrame) -> None:
        if isinstance(frame, Configured):
            frame = self._add_resume_token(frame)
        if frame is self._final_error:
            self._final_error = None
        self._stats.count_sent(frame)
        if isinstance(frame, Error):
            self._log_event(logging.DEBUG, "stream.error", code=frame.code)
        self._outbox.push_frame(frame)
        self._addons.on_frame_sent(frame)
        if self._outbox.replay_buffer is not None and self._outbox.replay_buffer.has_overflowed:
            asyncio.get_running_loop().call_soon(self._finish_if_abandoned, CLOSE_ABNORMAL)

    def _close_after_insights(self, code: int, reason: str) -> None:
        """Close, once the last insight is there if the client said stop."""
        if code != CLOSE_NORMAL or not self._addons.has_pending_insights:
            self._outbox.close(code, reason)
            return
        self._closing_task = asyncio.get_running_loop().create_task(self._addons.finish_insights())

        def part(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                self._outbox.close(code, reason)

        self._closing_task.add_done_callback(part)

    def _on_decoded(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        self._run_step(self._session.on_decoded, key, outcome)

    def _open_model(self, request: ModelRequest) -> None:
        task = asyncio.get_running_loop().create_task(
            self._engines.open_model(request, fallback=self._fallback, client=self)
        )
        self._opening_tasks.add(task)
        task.add_done_callback(self._on_model_opened)

    def _schedule_proceed(self) -> None:
        """Proceed in the loop's next round, so that others have their turn, and when audio can be paid."""
        loop = asyncio.get_running_loop()
        if self._quota is None or not self._quota.is_waiting:
            loop.call_soon(self._run_step, self._session.continue_audio)
            return
        self._quota_task = loop.create_task(self._quota.wait_for_grant())
        self._quota_task.add_done_callback(self._on_quota_ready)

    def _on_quota_ready(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._run_step(self._session.continue_audio)
        else:
            self._fail_stream(error)

    def _on_model_opened(self, task: asyncio.Task[OpenedModel]) -> None:
        self._opening_tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._stats.on_model_opened(task.result())
            self._run_step(self._session.on_model_opened, task.result())
        elif isinstance(error, ModelUnavailable):
            self._run_step(self._session.on_model_opened, error)
            self._requested_config = self._session.config
        else:
            self._fail_stream(error)

    # ---- what goes wrong

    def _report_error(self, error: EchoicError) -> None:
        frame = Error(code=error.code, message=error.message, detail=error.detail)
        close = CLOSE_CODES[error.code]
        if close is None:
            self._send_frame(frame)
        else:
            self.end_stream(close, frame)

    def _log_event(self, level: int, name: str, **values: LogValue) -> None:
        """Log an event with its client's address, whoever it was that made it happen."""
        self._log_context.run(log_event, log, level, name, stream=self.name, **values)

    def _fail_stream(self, error: BaseException) -> None:
        self._log_event(
            logging.ERROR, "stream.broken", kind=type(error).__name__, at=format_raise_location(error)
        )
        message = "Something went wrong in the server. The stream ends here."
        frame = Error(code=ErrorCode.INTERNAL_ERROR, message=message)
        if self._has_failed or self._is_ending:  # even the way out is broken
            self._final_error = frame
            self.close_now(CLOSE_INTERNAL_ERROR)
        self._has_failed = True
        self.end_stream(CLOSE_INTERNAL_ERROR, frame)

    # ---- time

    def _start_timer(self, seconds: float, call: Callable[..., None], *args: int) -> None:
        self._timers[call] = asyncio.get_running_loop().call_later(seconds, call, *args)

    def _check_idle(self) -> None:
        silent = asyncio.get_running_loop().time() - self._last_message_at
        if self._is_congested or silent < self._limits.idle_seconds:
            self._start_timer(
                max(self._limits.idle_seconds - silent, self._limits.idle_seconds / 2), self._check_idle
            )
            return
        message = f"Nothing was heard from the client for {self._limits.idle_seconds:g} s."
        self.end_stream(CLOSE_GOING_AWAY, Error(code=ErrorCode.IDLE_TIMEOUT, message=message))

    def _close_when_stalled(self, code: int, delivered: int = -1) -> None:
        """Cut the stream off once it delivers nothing more of what it heard."""
        _, now = self._session.progress
        if now == delivered:
            self.close_now(code)
        else:
            self._start_timer(self._limits.closing_seconds, self._close_when_stalled, code, now)

    def _on_max_duration(self) -> None:
        limit = self._limits.max_seconds
        message = f"A stream may last {limit:g} s here, and this one has."
        error = Error(code=ErrorCode.TIME_LIMIT, message=message, detail={"limit": limit})
        self.end_stream(CLOSE_GOING_AWAY, error)

    def _update_flow_control(self) -> None:
        """Look how much waits, and how late the finals are."""
        if self._is_finished:
            return
        self._total_backlog.update_stream(self, self._session.backlog)
        now = asyncio.get_running_loop().time()
        lag = self._latency
        lag.record_progress(*self._session.progress, now)
        self._session.partial_every = lag.compute_partial_pace(now)
        if lag.detect_falling_behind(now) and not self._is_ending:
            seconds = math.ceil(1000 * lag.compute_lag(now)) / 1000  # up: it is more than the mark
            message = f"The server falls behind: finals come {seconds:.1f} s late, and partials less often."
            self._send_frame(Warning(code="falling_behind", message=message, lag=seconds))
        if lag.next_check_at is not None and self._check_lag not in self._timers:
            self._start_timer(max(lag.next_check_at - now, _MIN_LAG_CHECK_SECONDS), self._check_lag)

    def _check_lag(self) -> None:
        self._timers.pop(self._check_lag, None)
        self._update_flow_control()

    def _on_outbox_changed(self) -> None:
        self._room_available.set()
        if self._outbox.close_code is None:
            return
        if self._peer is None:  # it is over while it waits for a client
            asyncio.get_running_loop().call_soon(self._finish_if_abandoned, self._outbox.close_code)
        self._stop_reading()

    # ---- another client

    @property
    def _resumed_frame(self) -> Resumed:
        return Resumed(
            session=self.name,
            received_messages=self._received_messages,
            received_samples=self._received_samples,
        )

    def _add_resume_token(self, frame: Configured) -> Configured:
        """Return the status with what a client needs to take the session up, if it is to be resumable."""
        kept = self._slot.resumable_sessions
        if frame.resumable is UNSET or not kept.policy.wait_seconds:
            kept.forget_session(self.name)
            self._outbox.replay_buffer = None
            return frame if frame.resumable is UNSET else replace(frame, resumable=False)
        if self._outbox.replay_buffer is None:
            self._outbox.replay_buffer = ReplayBuffer(kept.policy.max_characters)
            self._resume_token = kept.add_session(self.name, self._slot.user, self)
        return replace(
            frame, session=self.name, resume_token=self._resume_token, resume_seconds=kept.policy.wait_seconds
        )

    def _start_waiting(self, code: int) -> bool:
        """Return whether the session waits for another client, now that its own is gone, and begin to."""
        if self._is_finished or self._outbox.requested_close is not None or code in _NORMAL_CLOSE_CODES:
            return False
        if self._outbox.replay_buffer is None or not self._slot.resumable_sessions.try_wait(self.name):
            return False
        self._log_event(logging.INFO, "stream.waits")
        self._peer = None
        self._outbox.detach_client()
        self._start_timer(
            self._slot.resumable_sessions.policy.wait_seconds, self._finish_if_abandoned, CLOSE_ABNORMAL
        )
        return True

    def _keep_finished_session(self) -> None:
        """Keep what the client may not have received of a stream that came to its end."""
        record, goodbye = self._outbox.replay_buffer, self._outbox.requested_close
        if record is not None and goodbye is not None:
            self._slot.resumable_sessions.keep_finished(
                self.name, FinishedSession(self._resumed_frame, record, goodbye)
            )
        else:
            self._slot.resumable_sessions.forget_session(self.name)

    def _finish_if_abandoned(self, code: int) -> None:
        if self._peer is None:  # else a client came just now
            self._finish_stream(code)

    def _finish_stream(self, code: int) -> None:
        if self._is_finished:
            return
        self._is_finished = True
        self._total_backlog.update_stream(self, 0.0)
        self._keep_finished_session()
        self._release_resources()
        self._slot.on_closed(code)

    def _release_resources(self) -> None:
        self._outbox.stop()
        self._stats.count_dropped_partials(self._outbox.dropped_partials)
        self._engines.remove_client(self)
        self._addons.close()
        if self._closing_task is not None:
            self._closing_task.cancel()
        for task in self._opening_tasks:
            task.cancel()
        if self._quota_task is not None:
            self._quota_task.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


async def _close_replaced_peer(peer: WebSocketPeer) -> None:
    reason = "Another connection took up this session."
    with suppress(OSError, RuntimeError, TimeoutError):
        async with asyncio.timeout(_REPLACED_CLOSE_SECONDS):
            await peer.send({"type": "websocket.close", "code": CLOSE_RESUMED_ELSEWHERE, "reason": reason})
