"""Ends running streams within a minute after their key is revoked or expires."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from echoic.auth.backends import check_key_status
from echoic.auth.identity import Identity
from echoic.auth.key_store import ApiKey, KeyStore, KeyStoreUnavailable
from echoic.errors import CLOSE_CODES, AccessRefused, ErrorCode
from echoic.observability.logging import log_event
from echoic.protocol.frames import Error

log = logging.getLogger(__name__)

#: Seconds between two checks; a check may take up to the store's timeout on top.
CHECK_INTERVAL_SECONDS: Final = 20.0
_CLOSE_CODE: Final = CLOSE_CODES[ErrorCode.UNAUTHORIZED] or 0


class EndableStream(Protocol):
    """A stream that can be ended by the server."""

    def end_stream(self, code: int, error: Error | None = None) -> None:
        """Send the pending finals and the error, then close the stream."""


class RevocationMonitor:
    """Checks periodically that the keys of running streams are still valid.

    Args:
        store: The key store.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._key_ids: dict[EndableStream, str] = {}

    def follow_stream(self, stream: EndableStream, identity: Identity) -> None:
        """Monitor a stream if a key of the store opened or last resumed it."""
        self.forget_stream(stream)
        if identity.key_id is not None:
            self._key_ids[stream] = identity.key_id

    def forget_stream(self, stream: EndableStream) -> None:
        """Stop monitoring a stream."""
        self._key_ids.pop(stream, None)

    async def run_checks(self) -> None:
        """Check every ``CHECK_INTERVAL_SECONDS``, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            await self.end_revoked_streams()

    async def end_revoked_streams(self) -> None:
        """End the streams whose keys are no longer valid; while the store is unavailable, none."""
        if not self._key_ids:
            return
        try:
            known = await self._store.find_keys(set(self._key_ids.values()))
        except KeyStoreUnavailable as problem:
            log_event(log, logging.WARNING, "keys.unavailable", reason=problem.message)
            return
        for stream, key_id in tuple(self._key_ids.items()):
            refusal = _find_refusal(known.get(key_id))
            if refusal is not None:
                self.forget_stream(stream)
                stream.end_stream(_CLOSE_CODE, Error(code=refusal.code, message=refusal.message))


def _find_refusal(key: ApiKey | None) -> AccessRefused | None:
    if key is None:
        return AccessRefused(ErrorCode.UNAUTHORIZED, "This API key no longer exists.")
    try:
        check_key_status(key)
    except AccessRefused as refusal:
        return refusal
    return None
