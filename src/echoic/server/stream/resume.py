"""Sessions that outlive their connections: registry, tokens and resume requests."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from hmac import compare_digest
from secrets import token_urlsafe
from typing import Final, Protocol

from msgspec import UNSET

from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message, encode_frame
from echoic.protocol.frames import Config, Configured, Resumed
from echoic.server.stream.outbox import Outbox, ReplayBuffer
from echoic.server.stream.peer import WebSocketPeer

#: Random bytes of a resume token.
_TOKEN_BYTES: Final = 32
#: Seconds to wait for the first message of a client whose user has resumable sessions.
_RESUME_REQUEST_SECONDS: Final = 5.0
#: Seconds that a client may take to receive the rest of a finished session.
_REPLAY_SECONDS: Final = 5.0
#: What sending to a client that has disconnected raises.
_CLIENT_GONE_ERRORS: Final = (OSError, RuntimeError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    """How long and how many sessions are kept without a client."""

    #: Seconds that a session waits for its client. 0 means that no session can be resumed.
    wait_seconds: float = 30.0
    #: The most sessions that wait at the same time.
    max_sessions: int = 64
    #: Characters of frames that are kept of each session; twice as many while it waits.
    max_characters: int = 2**20


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A client's request to resume a session."""

    #: The session's resume token.
    token: str
    #: The ``seq`` of the last frame that the client has received.
    last_received: int


class ResumableSession(Protocol):
    """A session that can be resumed, or the rest of a finished one."""

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:
        """Attach a client that has the frames up to ``last_received``; return whether that was possible."""

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Serve the client until it disconnects or the session is over."""


class FinishedSession:
    """The frames of a finished session that its client may not have received.

    Args:
        resumed: The first frame for a client that resumes.
        replay_buffer: The frames.
        requested_close: The close code and reason.
    """

    def __init__(
        self, resumed: Resumed, replay_buffer: ReplayBuffer, requested_close: tuple[int, str]
    ) -> None:
        self._resumed_frame = resumed
        self._replay_buffer = replay_buffer
        self._requested_close = requested_close
        self._frames: list[str] = []

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:  # noqa: ARG002  # of the Protocol
        """Return whether all frames after ``last_received`` are kept."""
        frames = self._replay_buffer.find_frames_after(last_received)
        self._frames = frames or []
        return frames is not None

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Send the frames and close."""
        code, reason = self._requested_close
        with suppress(*_CLIENT_GONE_ERRORS):
            async with asyncio.timeout(_REPLAY_SECONDS):
                for text in (encode_frame(self._resumed_frame), *self._frames):
                    await peer.send({"type": "websocket.send", "text": text})
                await peer.send({"type": "websocket.close", "code": code, "reason": reason})


@dataclass(slots=True)
class _SessionEntry:
    user: str
    secret: bytes
    session: ResumableSession
    is_waiting: bool = False


class ResumeRegistry:
    """Registry of a server's resumable sessions, by their ids.

    Args:
        policy: How long and how many sessions are kept.
    """

    def __init__(self, policy: ResumePolicy | None = None) -> None:
        self.policy = policy or ResumePolicy()
        self._entries: dict[str, _SessionEntry] = {}
        self._sessions_by_user: Counter[str] = Counter()
        self._finished_names: deque[str] = deque()

    @property
    def waiting_count(self) -> int:
        """Sessions that wait for their clients."""
        return sum(entry.is_waiting for entry in self._entries.values())

    def add_session(self, name: str, user: str, session: ResumableSession) -> str:
        """Let ``user`` resume a session; return the resume token."""
        secret = token_urlsafe(_TOKEN_BYTES)
        self._entries[name] = _SessionEntry(user, secret.encode(), session)
        self._sessions_by_user[user] += 1
        return f"{name}.{secret}"

    def forget_session(self, name: str) -> None:
        """Remove a session, if it is there: it cannot be resumed any more."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._sessions_by_user -= Counter((entry.user,))

    def try_wait(self, name: str) -> bool:
        """Count a session as waiting for its client; return False if too many wait already."""
        entry = self._entries.get(name)
        if entry is None or self.waiting_count >= self.policy.max_sessions:
            return False
        entry.is_waiting = True
        return True

    def keep_finished(self, name: str, finished: FinishedSession) -> None:
        """Keep the rest of a finished session for ``wait_seconds``."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.session, entry.is_waiting = finished, False
        self._finished_names.append(name)
        asyncio.get_running_loop().call_later(self.policy.wait_seconds, self._forget_finished, name)
        if len(self._finished_names) > self.policy.max_sessions:
            self._forget_finished(self._finished_names[0])

    def has_sessions(self, user: str) -> bool:
        """Return whether the user has any session that can be resumed."""
        return self._sessions_by_user[user] > 0

    def resume_session(self, request: ResumeRequest, user: str, peer: WebSocketPeer) -> ResumableSession:
        """Attach a client to the session it asks for, and return the session.

        Raises:
            ProtocolError: ``resume_failed``: there is no such session of this user, or frames are missing.
        """
        name, _, secret = request.token.partition(".")
        entry = self._entries.get(name)
        given_secret = secret.encode(errors="replace")
        if entry is None or not compare_digest(entry.secret, given_secret) or entry.user != user:
            raise build_resume_error()
        if not entry.session.try_resume(peer, request.last_received):
            raise build_resume_error()
        entry.is_waiting = False
        return entry.session

    def _forget_finished(self, name: str) -> None:
        with suppress(ValueError):
            self._finished_names.remove(name)
            self.forget_session(name)


class StreamResumption:
    """Makes one stream resumable: counts received messages, keeps sent frames, and registers the session.

    Args:
        name: The stream's id.
        user: The id of the user whose stream it is.
        sessions: The server's registry of resumable sessions.
        outbox: The stream's send queue; numbers and keeps frames while the stream is resumable.
        session: The session to register.
    """

    def __init__(
        self, name: str, user: str, sessions: ResumeRegistry, outbox: Outbox, session: ResumableSession
    ) -> None:
        self._name = name
        self._user = user
        self._sessions = sessions
        self._outbox = outbox
        self._session = session
        self._token = ""
        self._received_messages = self._received_samples = 0

    @property
    def wait_seconds(self) -> float:
        """Seconds that the session waits for its client."""
        return self._sessions.policy.wait_seconds

    @property
    def has_overflowed(self) -> bool:
        """Whether more frames came without a client than can be kept."""
        buffer = self._outbox.replay_buffer
        return buffer is not None and buffer.has_overflowed

    def count_message(self) -> None:
        """Count a message of the client."""
        self._received_messages += 1

    def count_samples(self, samples: int) -> None:
        """Count samples in a message of the client."""
        self._received_samples += samples

    def update_status(self, frame: Configured) -> Configured:
        """Make the stream resumable, or not, as the client configured it.

        Returns:
            The status frame with what the client needs to resume.
        """
        if frame.resumable is UNSET or not self.wait_seconds:
            self._sessions.forget_session(self._name)
            self._outbox.replay_buffer = None
            return frame if frame.resumable is UNSET else replace(frame, resumable=False)
        if self._outbox.replay_buffer is None:
            self._outbox.replay_buffer = ReplayBuffer(self._sessions.policy.max_characters)
            self._token = self._sessions.add_session(self._name, self._user, self._session)
        return replace(frame, session=self._name, resume_token=self._token, resume_seconds=self.wait_seconds)

    def find_missed_frames(self, last_received: int) -> list[str] | None:
        """Return the JSON frames for a client that resumes, or None if not all are kept.

        Args:
            last_received: The ``seq`` of the last frame that the client has received.
        """
        buffer = self._outbox.replay_buffer
        frames = None if buffer is None else buffer.find_frames_after(last_received)
        return None if frames is None else [encode_frame(self._build_resumed_frame()), *frames]

    def try_wait(self) -> bool:
        """Return whether the session may wait for its client, and count it as waiting."""
        return self._outbox.replay_buffer is not None and self._sessions.try_wait(self._name)

    def finish(self) -> None:
        """Keep the frames that the client may not have received, if the stream was closed properly."""
        buffer, close = self._outbox.replay_buffer, self._outbox.requested_close
        if buffer is not None and close is not None:
            finished = FinishedSession(self._build_resumed_frame(), buffer, close)
            self._sessions.keep_finished(self._name, finished)
        else:
            self._sessions.forget_session(self._name)

    def _build_resumed_frame(self) -> Resumed:
        return Resumed(
            session=self._name,
            received_messages=self._received_messages,
            received_samples=self._received_samples,
        )


def build_resume_error() -> ProtocolError:
    """Return the error for a session that cannot be resumed."""
    return ProtocolError(
        ErrorCode.RESUME_FAILED,
        "The session cannot be resumed: it is over, it has waited too long, or the token or the frame number "
        "is wrong. Connect again, configure without `resume`, and send the audio again.",
    )


def parse_resume_request(frame: Config) -> ResumeRequest | None:
    """Return the resume request in a config frame, or None for an ordinary config frame."""
    token, received = frame.values.get("resume"), frame.values.get("received", 0)
    if token is None:
        return None
    if not isinstance(token, str) or isinstance(received, bool) or not isinstance(received, int):
        return ResumeRequest("", 0)
    return ResumeRequest(token, received)


async def read_resume_request(peer: WebSocketPeer) -> tuple[ResumeRequest | None, WebSocketPeer]:
    """Read the first message of a client.

    Returns:
        The resume request in the message, or None, and the peer to continue with, which receives any other
        message again.

    Raises:
        PeerDisconnected: The client has disconnected.
    """
    try:
        async with asyncio.timeout(_RESUME_REQUEST_SECONDS):
            message = await peer.receive_message()
    except TimeoutError:
        return None, peer
    request = None
    if isinstance(message, str):
        with suppress(ProtocolError):
            frame = decode_message(message)
            request = parse_resume_request(frame) if isinstance(frame, Config) else None
    return request, peer if request is not None else peer.with_pending_message(message)
