"""Round trips to a store of quotas as spans."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.trace import Tracer

    from echoic.limits.quota import Admission, Allowance, Claim, Place, QuotaStore, Receipt, Usage


class TracedQuotas:
    """A store of quotas, each step of which is a span.

    Args:
        store: The one that is followed.
        tracer: Makes spans.
    """

    def __init__(self, store: QuotaStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def acquire(self, place: Place, allowance: Allowance, ttl: float) -> Admission:
        """See ``QuotaStore.acquire``."""
        with self._span("acquire"):
            return await self._store.acquire(place, allowance, ttl)

    async def renew(self, places: Sequence[tuple[Place, Allowance]], ttl: float) -> list[bool]:
        """See ``QuotaStore.renew``."""
        with self._span("renew", places=len(places)):
            return await self._store.renew(places, ttl)

    async def release(self, place: Place) -> None:
        """See ``QuotaStore.release``."""
        with self._span("release"):
            await self._store.release(place)

    async def charge(self, claim: Claim) -> Receipt:
        """See ``QuotaStore.charge``."""
        with self._span("charge"):
            return await self._store.charge(claim)

    def charge_now(self, claim: Claim) -> Receipt | None:
        """See ``QuotaStore.charge_now``; no round trip, and no span."""
        return self._store.charge_now(claim)

    async def usage(self, user: str) -> Usage:
        """See ``QuotaStore.usage``."""
        with self._span("usage"):
            return await self._store.usage(user)

    async def ping(self) -> None:
        """See ``QuotaStore.ping``; no span: it belongs to no stream, and comes every second."""
        await self._store.ping()

    async def close(self) -> None:
        """See ``QuotaStore.close``."""
        await self._store.close()

    @contextmanager
    def _span(self, step: str, **facts: int) -> Iterator[None]:
        attributes = {f"echoic.{name}": fact for name, fact in facts.items()}
        span = self._tracer.start_span(f"echoic.quota.{step}", kind=SpanKind.CLIENT, attributes=attributes)
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()
