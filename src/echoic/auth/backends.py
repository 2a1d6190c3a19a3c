"""Authentication backends: the single key of the settings, and a key store.

A wrong key takes the same steps whatever is wrong with it, so that timing reveals nothing: its digest is
computed, a record is looked up (of ``NO_KEY_ID`` if the text has no id), and two digests are compared in
constant time. Only the holder of a real key learns that it has expired or was revoked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from echoic.auth.identity import SINGLE_KEY_TIER, SINGLE_KEY_USER, Identity
from echoic.auth.key_store import ApiKey, KeyStatus, KeyStore, KeyStoreUnavailable
from echoic.auth.keys import NO_DIGEST, compute_digest, parse_key_id, same_digest
from echoic.errors import AccessRefused, ErrorCode

#: Seconds between two writes of a key's last use.
USE_RECORD_INTERVAL: Final = 60.0
_KEY_REFUSALS: Final = {
    KeyStatus.EXPIRED: "This API key has expired.",
    KeyStatus.REVOKED: "This API key was revoked.",
}


class AuthBackend(Protocol):
    """Identifies users by one kind of credential."""

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the credential's user, or None if the backend does not know the credential.

        Raises:
            AccessRefused: The credential is real but no longer valid, or cannot be checked now.
        """


@dataclass(frozen=True, slots=True)
class SingleKeyBackend:
    """Accepts the single key of the settings."""

    #: The key's SHA-256.
    digest: bytes = field(repr=False)

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the default user if the credential is the key."""
        if same_digest(compute_digest(credential), self.digest):
            return Identity(SINGLE_KEY_USER, SINGLE_KEY_TIER)
        return None


class KeyStoreBackend:
    """Accepts the keys of a key store.

    Args:
        store: The key store.
        clock: Returns the seconds of a monotonic clock.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._recorded_at: dict[str, float] = {}
        self._pending_writes: set[asyncio.Task[None]] = set()

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the key's user; record its use, at most once per ``USE_RECORD_INTERVAL``."""
        digest, key_id = compute_digest(credential), parse_key_id(credential)
        try:
            key = await self._store.find_key(key_id)
        except KeyStoreUnavailable as error:
            message = "API keys cannot be checked at the moment. Try again later."
            raise AccessRefused(ErrorCode.SERVER_BUSY, message) from error
        is_correct = same_digest(digest, NO_DIGEST if key is None else key.digest)
        if key is None or not is_correct:
            return None
        check_key_status(key)
        self._record_use(key.id)
        return key.identity

    async def flush_writes(self) -> None:
        """Wait until all recorded uses are written."""
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
        except KeyStoreUnavailable:  # not awaited: the next use is recorded again
            self._recorded_at.pop(key_id, None)


def check_key_status(key: ApiKey) -> None:
    """Check that a key is valid now.

    Raises:
        AccessRefused: It has expired or was revoked.
    """
    status = key.status_at(datetime.now(UTC))
    if status is not KeyStatus.VALID:
        raise AccessRefused(ErrorCode.UNAUTHORIZED, _KEY_REFUSALS[status])
