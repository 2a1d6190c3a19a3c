"""Ways to know who presents a credential: by the one key of the settings, by a store of keys, by a token.

Whatever is wrong with a credential, the way there is the same: the digest is made, a record is looked up
(that of no key, if the text holds no id), and two digests are compared whole. What is told apart after that,
is told only to who presented a real key.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from echoic.errors import AccessRefused, ErrorCode
from echoic.limits.identity import SINGLE_KEY_TIER, SINGLE_KEY_USER, Identity
from echoic.limits.keys import KeyStoreUnavailable, Standing
from echoic.limits.secret import NO_DIGEST, digest_of, id_in, same_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.limits.keys import Key, KeyStore

#: Seconds between two notes of when a key was used.
NOTE_SECONDS: Final = 60.0
_REASONS: Final = {
    Standing.EXPIRED: "This API key has expired.",
    Standing.REVOKED: "This API key was revoked.",
}


class Way(Protocol):
    """One way to know who presents a credential."""

    async def identify(self, credential: str) -> Identity | None:
        """Return who presents it; None: this way does not know it.

        Raises:
            AccessRefused: It is real and does not count any more, or cannot be checked now.
        """


@dataclass(frozen=True, slots=True)
class SingleKey:
    """The one key of the settings.

    Attributes:
        digest: Its SHA-256.
    """

    digest: bytes = field(repr=False)

    async def identify(self, credential: str) -> Identity | None:
        """Return its user if ``credential`` is the key."""
        if same_digest(digest_of(credential), self.digest):
            return Identity(SINGLE_KEY_USER, SINGLE_KEY_TIER)
        return None


class StoredKeys:
    """The keys of a store.

    Args:
        store: Where they are kept.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def identify(self, credential: str) -> Identity | None:
        """Return the user of the key that ``credential`` is; note now and then that it was used."""
        digest, name = digest_of(credential), id_in(credential)
        try:
            key = await self._store.find(name)
        except KeyStoreUnavailable as error:
            message = "API keys cannot be checked at the moment. Please try again later."
            raise AccessRefused(ErrorCode.SERVER_BUSY, message) from error
        is_right = same_digest(digest, NO_DIGEST if key is None else key.digest)
        if key is None or not is_right:
            return None
        refuse_unless_good(key)
        self._note(key.id)
        return key.identity

    async def settle(self) -> None:
        """Wait until what was noted is written."""
        if self._notes:
            await asyncio.wait(self._notes)

    def _note(self, name: str) -> None:
        now = self._clock()
        if now - self._noted.get(name, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        self._noted[name] = now
        task = asyncio.get_running_loop().create_task(self._write(name))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write(self, name: str) -> None:
        try:
            await self._store.used(name, datetime.now(UTC))
        except KeyStoreUnavailable:  # nobody waits for it; the next use is noted again
            self._noted.pop(name, None)


def refuse_unless_good(key: Key) -> None:
    """Return if a key counts now.

    Raises:
        AccessRefused: It has expired, or was revoked.
    """
    standing = key.standing(datetime.now(UTC))
    if standing is not Standing.GOOD:
        raise AccessRefused(ErrorCode.UNAUTHORIZED, _REASONS[standing])
