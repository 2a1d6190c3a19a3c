"""Round trips to a store of quotas as spans."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.trace import Tracer

    from echoic.limits.quota import (
        Charge,
        ChargeResult,
        LeaseResult,
        QuotaStore,
        QuotaUsage,
        StreamLease,
        TierLimits,
    )


class TracedQuotaStore:
    """A store of quotas, each step of which is a span.

    Args:
        store: The one that is followed.
        tracer: Makes spans.
    """

    def __init__(self, store: QuotaStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """See ``QuotaStore.acquire``."""
        with self._trace_step("acquire"):
            return await self._store.acquire_lease(lease, tier_limits, ttl_seconds)

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew``."""
        with self._trace_step("renew", places=len(leases)):
            return await self._store.renew_leases(leases, ttl_seconds)

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release``."""
        with self._trace_step("release"):
            await self._store.release_lease(lease)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        with self._trace_step("charge"):
            return await self._store.charge_audio(charge)

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:
        """See ``QuotaStore.charge_now``; no round trip, and no span."""
        return self._store.charge_audio_now(charge)

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.usage``."""
        with self._trace_step("usage"):
            return await self._store.read_usage(user)

    async def ping(self) -> None:
        """See ``QuotaStore.ping``; no span: it belongs to no stream, and comes every second."""
        await self._store.ping()

    async def close(self) -> None:
        """See ``QuotaStore.close``."""
        await self._store.close()

    @contextmanager
    def _trace_step(self, step: str, **facts: int) -> Iterator[None]:
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
