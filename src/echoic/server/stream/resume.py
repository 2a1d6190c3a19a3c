"""Sessions that outlive their connections: who may take them up again, and what was sent to them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final, Protocol

from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message, encode_frame
from echoic.protocol.frames import Config, Resumed

if TYPE_CHECKING:
    from echoic.server.stream.services import WebSocketPeer

#: Characters that a kept frame counts beyond its own.
_FRAME_OVERHEAD: Final = 128
#: Random bytes of a token.
_TOKEN_BYTES: Final = 32
#: Seconds within which a client whose user has sessions kept is expected to say which one it wants.
_RESUME_REQUEST_SECONDS: Final = 5.0
#: What can go wrong with a client that is gone.
_CLIENT_GONE_ERRORS: Final = (OSError, RuntimeError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    """How long sessions are kept without a client, and how much of them.

    Attributes:
        wait_seconds: How long one waits for its client; 0: no session is kept.
        max_sessions: The most that wait at the same time.
        max_characters: Characters of frames that are kept of each, twice while it waits.
    """

    wait_seconds: float = 30.0
    max_sessions: int = 64
    max_characters: int = 2**20


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A client's wish to take up a session.

    Attributes:
        token: The session's.
        last_received: The ``seq`` of the last frame that it has.
    """

    token: str
    last_received: int


class ReplayBuffer:
    """The frames sent to one client, numbered from 1, as far back as they are kept.

    Args:
        max_size: Characters that are kept.
    """

    __slots__ = ("_frames", "_held_size", "_last_discarded", "_max_size", "_size", "last_number")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._frames: deque[tuple[int, str]] = deque()
        self._size = self._last_discarded = 0
        self._held_size: int | None = None
        #: The number of the last frame.
        self.last_number = 0

    @property
    def has_overflowed(self) -> bool:
        """Whether more came since ``start_holding`` than is kept."""
        return self._held_size is not None and self._held_size > self._max_size

    def add_frame(self, text: str, *, keep: bool) -> str:
        """Return a frame's JSON with its number.

        Args:
            text: The frame's JSON object.
            keep: Whether it is needed later: a partial that was missed is not.
        """
        self.last_number += 1
        text = f'{text[:-1]},"seq":{self.last_number}}}'
        if keep:
            self._frames.append((self.last_number, text))
            self._size += len(text) + _FRAME_OVERHEAD
            if self._held_size is None:
                self._discard_excess()
            else:
                self._held_size += len(text) + _FRAME_OVERHEAD
        return text

    def find_frames_after(self, last_received: int) -> list[str] | None:
        """Return the frames after the one of this number, or None: they are not there, or it never was."""
        if not self._last_discarded <= last_received <= self.last_number:
            return None
        return [text for number, text in self._frames if number > last_received]

    def start_holding(self) -> None:
        """Forget nothing for a while: nobody receives what is added."""
        self._held_size = 0

    def stop_holding(self) -> None:
        """Forget what is too much again."""
        self._held_size = None
        self._discard_excess()

    def _discard_excess(self) -> None:
        while self._size > self._max_size:
            self._last_discarded, text = self._frames.popleft()
            self._size -= len(text) + _FRAME_OVERHEAD


class ResumableSession(Protocol):
    """A session that can be taken up, or what is left of one."""

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:
        """Go on with this client, which has the frames up to ``last_received``; False: that cannot be."""

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Serve it until it is gone or the session is over."""


class FinishedSession:
    """What is left of a session that is over: frames that its client may not have.

    Args:
        resumed: What the client is told first.
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

    def try_resume(self, peer: WebSocketPeer, last_received: int) -> bool:  # noqa: ARG002  # Resumable's signature
        """Look whether the frames after ``last_received`` are there."""
        frames = self._replay_buffer.find_frames_after(last_received)
        self._frames = frames or []
        return frames is not None

    async def serve_peer(self, peer: WebSocketPeer) -> None:
        """Send them, and close."""
        code, reason = self._requested_close
        with suppress(*_CLIENT_GONE_ERRORS):
            async with asyncio.timeout(_RESUME_REQUEST_SECONDS):
                for text in (encode_frame(self._resumed_frame), *self._frames):
                    await peer.send({"type": "websocket.send", "text": text})
                await peer.send({"type": "websocket.close", "code": code, "reason": reason})


@dataclass(slots=True)
class _SessionEntry:
    user: str
    secret: bytes
    session: ResumableSession
    is_waiting: bool = False


class ResumableSessions:
    """The sessions of a server that can be taken up again, by their names.

    Args:
        policy: How long, and how many.
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
        """Make a session one that can be taken up, by its user alone; return the token."""
        secret = token_urlsafe(_TOKEN_BYTES)
        self._entries[name] = _SessionEntry(user, secret.encode(), session)
        self._sessions_by_user[user] += 1
        return f"{name}.{secret}"

    def forget_session(self, name: str) -> None:
        """Make it one no more."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._sessions_by_user -= Counter((entry.user,))

    def try_wait(self, name: str) -> bool:
        """Return whether the session may wait for its client, and count it."""
        entry = self._entries.get(name)
        if entry is None or self.waiting_count >= self.policy.max_sessions:
            return False
        entry.is_waiting = True
        return True

    def keep_finished(self, name: str, finished: FinishedSession) -> None:
        """Keep what is left of a session that is over, for as long as one waits."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.session, entry.is_waiting = finished, False
        self._finished_names.append(name)
        asyncio.get_running_loop().call_later(self.policy.wait_seconds, self._forget_finished, name)
        if len(self._finished_names) > self.policy.max_sessions:
            self._forget_finished(self._finished_names[0])

    def has_sessions(self, user: str) -> bool:
        """Return whether this user has any."""
        return self._sessions_by_user[user] > 0

    def resume_session(self, request: ResumeRequest, user: str, peer: WebSocketPeer) -> ResumableSession:
        """Let a client go on with the session that it wants.

        Raises:
            ProtocolError: ``build_resume_error``.
        """
        name, _, secret = request.token.partition(".")
        entry = self._entries.get(name)
        given = secret.encode(errors="replace")
        if entry is None or not compare_digest(entry.secret, given) or entry.user != user:
            raise build_resume_error()
        if not entry.session.try_resume(peer, request.last_received):
            raise build_resume_error()
        entry.is_waiting = False
        return entry.session

    def _forget_finished(self, name: str) -> None:
        with suppress(ValueError):
            self._finished_names.remove(name)
            self.forget_session(name)


def build_resume_error() -> ProtocolError:
    """Return the error for a wish that cannot be fulfilled."""
    return ProtocolError(
        ErrorCode.RESUME_FAILED,
        "There is no session that this could take up: it is over, it waited too long, or token or frame "
        "number are wrong. Connect again with a config without resume and send the audio anew.",
    )


def parse_resume_request(frame: Config) -> ResumeRequest | None:
    """Return the wish that a config is, or None: it is a config."""
    token, received = frame.values.get("resume"), frame.values.get("received", 0)
    if token is None:
        return None
    if not isinstance(token, str) or isinstance(received, bool) or not isinstance(received, int):
        return ResumeRequest("", 0)
    return ResumeRequest(token, received)


async def read_resume_request(peer: WebSocketPeer) -> tuple[ResumeRequest | None, WebSocketPeer]:
    """Return what a client's first message wishes, and the client; a message that is no wish is put back.

    Raises:
        Disconnected: The client went away.
    """
    try:
        async with asyncio.timeout(_RESUME_REQUEST_SECONDS):
            message = await peer.receive_message()
    except TimeoutError:
        return None, peer
    wish = None
    if isinstance(message, str):
        with suppress(ProtocolError):
            frame = decode_message(message)
            wish = parse_resume_request(frame) if isinstance(frame, Config) else None
    return wish, peer if wish is not None else peer.with_pending_message(message)
