"""The portable router: the core endpoint for any FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from fastapi import APIRouter
from starlette.routing import WebSocketRoute

from echoic.auth.authenticator import Authenticator
from echoic.auth.network import AllowedOrigins
from echoic.engines.models import build_standard_registry
from echoic.engines.registry import Registry
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.metrics import Metrics
from echoic.protocol.constants import CORE_PATH
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.build import build_add_on_services, build_silero_factory
from echoic.server.settings.addons import AddOnSettings
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.endpoint import StreamEndpoint
from echoic.server.stream.flow_control import TotalBacklog
from echoic.server.stream.services import StreamLimits, StreamServices

_MAX_STREAMS: Final = 200


class _CoreServices:
    """The services of one included router, built for its first stream and closed with the application."""

    def __init__(
        self,
        registry: Registry | None,
        build_vad: Callable[[], VoiceActivityDetector] | None,
        add_ons: AddOnSettings | None,
    ) -> None:
        self._registry = registry
        self._build_vad = build_vad
        self._add_ons = add_ons or AddOnSettings()
        self._services: StreamServices | None = None

    def get_services(self) -> StreamServices:
        if self._services is None:
            backlog = TotalBacklog()
            self._services = StreamServices(
                EnginePool(self._registry or build_standard_registry()),
                Metrics(),
                StreamLimits(),
                StreamAdmission(_MAX_STREAMS, backlog),
                addons=build_add_on_services(self._add_ons),
                total_backlog=backlog,
                build_vad=self._build_vad or build_silero_factory(),
            )
        return self._services

    async def close(self) -> None:
        services, self._services = self._services, None
        if services is not None:
            await services.addons.close()
            await services.engines.close()


def core_router(
    registry: Registry | None = None,
    build_vad: Callable[[], VoiceActivityDetector] | None = None,
    *,
    allowed_origins: str = "",
    add_ons: AddOnSettings | None = None,
) -> APIRouter:
    """Return a router with ``WS /core/parakeet/stream``: streams without keys, quotas or fallback.

    It brings its own models, loaded when first asked for, and frees them when the application that
    includes it shuts down. Each call returns a router that shares nothing with another.

    Args:
        registry: The models there are; None: all of this version.
        build_vad: Makes a stream's voice-activity detector; None: Silero's.
        allowed_origins: Whose pages may open streams beside those of the application itself and of the user's
            own machine, such as ``https://a.example, https://b.example``; ``*``: any.
        add_ons: What is said of speakers and insights; None: the defaults of a server.

    Raises:
        ValueError: Something in ``allowed_origins`` is no origin.
    """
    core = _CoreServices(registry, build_vad, add_ons)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await core.close()

    router = APIRouter(lifespan=lifespan)
    guard = Authenticator(origins=AllowedOrigins.from_text(allowed_origins, allow_loopback=True))
    router.routes.append(
        WebSocketRoute(CORE_PATH, StreamEndpoint(core.get_services, guard), name="core_stream")
    )
    return router
