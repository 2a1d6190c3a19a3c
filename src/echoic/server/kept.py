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
from echoic.wire.codec import decode_message, encode_frame
from echoic.wire.frames import Config, Resumed

if TYPE_CHECKING:
    from echoic.server.means import Peer

#: Characters that a kept frame counts beyond its own.
_OVERHEAD: Final = 128
#: Random bytes of a token.
_TOKEN_BYTES: Final = 32
#: Seconds within which a client whose user has sessions kept is expected to say which one it wants.
_WISH_SECONDS: Final = 5.0
#: What can go wrong with a client that is gone.
_GONE: Final = (OSError, RuntimeError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Grace:
    """How long sessions are kept without a client, and how much of them.

    Attributes:
        seconds: How long one waits for its client; 0: no session is kept.
        sessions: The most that wait at the same time.
        size: Characters of frames that are kept of each, twice while it waits.
    """

    seconds: float = 30.0
    sessions: int = 64
    size: int = 2**20


@dataclass(frozen=True, slots=True)
class Wish:
    """A client's wish to take up a session.

    Attributes:
        token: The session's.
        received: The ``seq`` of the last frame that it has.
    """

    token: str
    received: int


class Record:
    """The frames sent to one client, numbered from 1, as far back as they are kept.

    Args:
        most: Characters that are kept.
    """

    __slots__ = ("_forgotten", "_frames", "_held", "_most", "_size", "last")

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: deque[tuple[int, str]] = deque()
        self._size = self._forgotten = 0
        self._held: int | None = None
        #: The number of the last frame.
        self.last = 0

    @property
    def overflows(self) -> bool:
        """Whether more came since ``hold`` than is kept."""
        return self._held is not None and self._held > self._most

    def add(self, text: str, *, keep: bool) -> str:
        """Return a frame's JSON with its number.

        Args:
            text: The frame's JSON object.
            keep: Whether it is needed later: a partial that was missed is not.
        """
        self.last += 1
        text = f'{text[:-1]},"seq":{self.last}}}'
        if keep:
            self._frames.append((self.last, text))
            self._size += len(text) + _OVERHEAD
            if self._held is None:
                self._shrink()
            else:
                self._held += len(text) + _OVERHEAD
        return text

    def since(self, received: int) -> list[str] | None:
        """Return the frames after the one of this number, or None: they are not there, or it never was."""
        if not self._forgotten <= received <= self.last:
            return None
        return [text for number, text in self._frames if number > received]

    def hold(self) -> None:
        """Forget nothing for a while: nobody receives what is added."""
        self._held = 0

    def release(self) -> None:
        """Forget what is too much again."""
        self._held = None
        self._shrink()

    def _shrink(self) -> None:
        while self._size > self._most:
            self._forgotten, text = self._frames.popleft()
            self._size -= len(text) + _OVERHEAD


class Resumable(Protocol):
    """A session that can be taken up, or what is left of one."""

    def resume(self, peer: Peer, received: int) -> bool:
        """Go on with this client, which has the frames up to ``received``; False: that cannot be."""

    async def serve(self, peer: Peer) -> None:
        """Serve it until it is gone or the session is over."""


class Tail:
    """What is left of a session that is over: frames that its client may not have.

    Args:
        told: What the client is told first.
        record: The frames.
        goodbye: The close code and reason.
    """

    def __init__(self, told: Resumed, record: Record, goodbye: tuple[int, str]) -> None:
        self._told = told
        self._record = record
        self._goodbye = goodbye
        self._frames: list[str] = []

    def resume(self, peer: Peer, received: int) -> bool:  # noqa: ARG002  # Resumable's signature
        """Look whether the frames after ``received`` are there."""
        frames = self._record.since(received)
        self._frames = frames or []
        return frames is not None

    async def serve(self, peer: Peer) -> None:
        """Send them, and close."""
        code, reason = self._goodbye
        with suppress(*_GONE):
            async with asyncio.timeout(_WISH_SECONDS):
                for text in (encode_frame(self._told), *self._frames):
                    await peer.send({"type": "websocket.send", "text": text})
                await peer.send({"type": "websocket.close", "code": code, "reason": reason})


@dataclass(slots=True)
class _Entry:
    user: str
    secret: bytes
    session: Resumable
    waits: bool = False


class Kept:
    """The sessions of a server that can be taken up again, by their names.

    Args:
        grace: How long, and how many.
    """

    def __init__(self, grace: Grace | None = None) -> None:
        self.grace = grace or Grace()
        self._entries: dict[str, _Entry] = {}
        self._users: Counter[str] = Counter()
        self._tails: deque[str] = deque()

    @property
    def waiting(self) -> int:
        """Sessions that wait for their clients."""
        return sum(entry.waits for entry in self._entries.values())

    def add(self, name: str, user: str, session: Resumable) -> str:
        """Make a session one that can be taken up, by its user alone; return the token."""
        secret = token_urlsafe(_TOKEN_BYTES)
        self._entries[name] = _Entry(user, secret.encode(), session)
        self._users[user] += 1
        return f"{name}.{secret}"

    def forget(self, name: str) -> None:
        """Make it one no more."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._users -= Counter((entry.user,))

    def wait(self, name: str) -> bool:
        """Return whether the session may wait for its client, and count it."""
        entry = self._entries.get(name)
        if entry is None or self.waiting >= self.grace.sessions:
            return False
        entry.waits = True
        return True

    def leave(self, name: str, tail: Tail) -> None:
        """Keep what is left of a session that is over, for as long as one waits."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.session, entry.waits = tail, False
        self._tails.append(name)
        asyncio.get_running_loop().call_later(self.grace.seconds, self._drop_tail, name)
        if len(self._tails) > self.grace.sessions:
            self._drop_tail(self._tails[0])

    def knows(self, user: str) -> bool:
        """Return whether this user has any."""
        return self._users[user] > 0

    def take_up(self, wish: Wish, user: str, peer: Peer) -> Resumable:
        """Let a client go on with the session that it wants.

        Raises:
            ProtocolError: ``resume_failed``.
        """
        name, _, secret = wish.token.partition(".")
        entry = self._entries.get(name)
        given = secret.encode(errors="replace")
        if entry is None or not compare_digest(entry.secret, given) or entry.user != user:
            raise resume_failed()
        if not entry.session.resume(peer, wish.received):
            raise resume_failed()
        entry.waits = False
        return entry.session

    def _drop_tail(self, name: str) -> None:
        with suppress(ValueError):
            self._tails.remove(name)
            self.forget(name)


def resume_failed() -> ProtocolError:
    """Return the error for a wish that cannot be fulfilled."""
    return ProtocolError(
        ErrorCode.RESUME_FAILED,
        "There is no session that this could take up: it is over, it waited too long, or token or frame "
        "number are wrong. Connect again with a config without resume and send the audio anew.",
    )


def read_wish(frame: Config) -> Wish | None:
    """Return the wish that a config is, or None: it is a config."""
    token, received = frame.values.get("resume"), frame.values.get("received", 0)
    if token is None:
        return None
    if not isinstance(token, str) or isinstance(received, bool) or not isinstance(received, int):
        return Wish("", 0)
    return Wish(token, received)


async def first_wish(peer: Peer) -> tuple[Wish | None, Peer]:
    """Return what a client's first message wishes, and the client; a message that is no wish is put back.

    Raises:
        Disconnected: The client went away.
    """
    try:
        async with asyncio.timeout(_WISH_SECONDS):
            message = await peer.message()
    except TimeoutError:
        return None, peer
    wish = None
    if isinstance(message, str):
        with suppress(ProtocolError):
            frame = decode_message(message)
            wish = read_wish(frame) if isinstance(frame, Config) else None
    return wish, peer if wish is not None else peer.putting_back(message)
