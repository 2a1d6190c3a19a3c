"""Ways to know who presents a credential: by the one key of the settings, by a store of keys, by a token.

Whatever is wrong with a credential, the way there is the same: the digest is made, a record is looked up
(that of no key, if the text holds no id), and two digests are compared whole. What is told apart after that,
is told only to who presented a real key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from echoic.auth.identity import SINGLE_KEY_TIER, SINGLE_KEY_USER, Identity
from echoic.auth.keys import (
    NO_DIGEST,
    ApiKey,
    KeyStatus,
    KeyStore,
    KeyStoreUnavailable,
    compute_digest,
    parse_key_id,
    same_digest,
)
from echoic.errors import AccessRefused, ErrorCode

#: Seconds between two notes of when a key was used.
USE_RECORD_INTERVAL: Final = 60.0
_KEY_REFUSALS: Final = {
    KeyStatus.EXPIRED: "This API key has expired.",
    KeyStatus.REVOKED: "This API key was revoked.",
}


class AuthBackend(Protocol):
    """One way to know who presents a credential."""

    async def identify_user(self, credential: str) -> Identity | None:
        """Return who presents it; None: this way does not know it.

        Raises:
            AccessRefused: It is real and does not count any more, or cannot be checked now.
        """


@dataclass(frozen=True, slots=True)
class SingleKeyBackend:
    """The one key of the settings.

    Attributes:
        digest: Its SHA-256.
    """

    digest: bytes = field(repr=False)

    async def identify_user(self, credential: str) -> Identity | None:
        """Return its user if ``credential`` is the key."""
        if same_digest(compute_digest(credential), self.digest):
            return Identity(SINGLE_KEY_USER, SINGLE_KEY_TIER)
        return None


class KeyStoreBackend:
    """The keys of a store.

    Args:
        store: Where they are kept.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._recorded_at: dict[str, float] = {}
        self._pending_writes: set[asyncio.Task[None]] = set()

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the user of the key that ``credential`` is; note now and then that it was used."""
        digest, name = compute_digest(credential), parse_key_id(credential)
        try:
            key = await self._store.find_key(name)
        except KeyStoreUnavailable as error:
            message = "API keys cannot be checked at the moment. Please try again later."
            raise AccessRefused(ErrorCode.SERVER_BUSY, message) from error
        is_right = same_digest(digest, NO_DIGEST if key is None else key.digest)
        if key is None or not is_right:
            return None
        check_key_status(key)
        self._record_use(key.id)
        return key.identity

    async def flush_writes(self) -> None:
        """Wait until what was noted is written."""
        if self._pending_writes:
            await asyncio.wait(self._pending_writes)

    def _record_use(self, key_id: str) -> None:
        now = self._clock()
        if now - self._recorded_at.get(key_id, -USE_RECORD_INTERVAL) < USE_RECORD_INTERVAL:
            return
        self._recorded_at[key_id] = now
        task = asyncio.get_running_loop().create_task(self._write_use(key_id))
        self._pending_writes.add(task)
        task.add_done_callback(self._pending_writes.discard)

    async def _write_use(self, key_id: str) -> None:
        try:
            await self._store.record_use(key_id, datetime.now(UTC))
        except KeyStoreUnavailable:  # nobody waits for it; the next use is noted again
            self._recorded_at.pop(key_id, None)


def check_key_status(key: ApiKey) -> None:
    """Return if a key counts now.

    Raises:
        AccessRefused: It has expired, or was revoked.
    """
    standing = key.status_at(datetime.now(UTC))
    if standing is not KeyStatus.VALID:
        raise AccessRefused(ErrorCode.UNAUTHORIZED, _KEY_REFUSALS[standing])
