"""Running streams whose keys stop to count: revoked ones end within a minute."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from echoic.errors import CLOSE_CODES, AccessRefused, ErrorCode
from echoic.limits.keys import KeyStoreUnavailable
from echoic.limits.ways import refuse_unless_good
from echoic.server.log import event
from echoic.wire.frames import Error

if TYPE_CHECKING:
    from echoic.limits.identity import Identity
    from echoic.limits.keys import Key, KeyStore

log = logging.getLogger(__name__)

#: Seconds between two looks; one look may wait for the store's own patience on top.
LOOK_SECONDS: Final = 20.0
_CLOSE: Final = CLOSE_CODES[ErrorCode.UNAUTHORIZED] or 0


class Running(Protocol):
    """A stream that can be ended."""

    def end(self, code: int, error: Error | None = None) -> None:
        """Deliver what was heard, then the error, and close."""


class KeyWatch:
    """Looks now and then whether the keys of running streams still count.

    Args:
        store: Where the keys are kept.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._keys: dict[Running, str] = {}

    def follow(self, stream: Running, identity: Identity) -> None:
        """Watch over a stream, if it was opened, or taken up last, by a key of the store."""
        self.forget(stream)
        if identity.key_id is not None:
            self._keys[stream] = identity.key_id

    def forget(self, stream: Running) -> None:
        """Watch over it no more."""
        self._keys.pop(stream, None)

    async def run(self) -> None:
        """Look every ``LOOK_SECONDS``, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """End the streams whose keys do not count any more; where the store is away, all go on."""
        if not self._keys:
            return
        try:
            known = await self._store.find_all(set(self._keys.values()))
        except KeyStoreUnavailable as problem:
            event(log, logging.WARNING, "keys.unavailable", reason=problem.message)
            return
        for stream, name in tuple(self._keys.items()):
            refusal = _refusal(known.get(name))
            if refusal is not None:
                self.forget(stream)
                stream.end(_CLOSE, Error(code=refusal.code, message=refusal.message))


def _refusal(key: Key | None) -> AccessRefused | None:
    if key is None:
        return AccessRefused(ErrorCode.UNAUTHORIZED, "This API key is gone.")
    try:
        refuse_unless_good(key)
    except AccessRefused as refusal:
        return refusal
    return None
