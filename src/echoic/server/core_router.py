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
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.build import build_add_on_services, build_silero_factory
from echoic.server.settings.addons import AddOnSettings
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.endpoint import EndpointContext, StreamEndpoint
from echoic.server.stream.services import StreamLimits, StreamServices

CORE_PATH: Final = "/core/parakeet/stream"
_MAX_STREAMS: Final = 200


class _CoreContext:
    """The service of one included router: made for the first stream, gone when the application stops."""

    def __init__(
        self,
        registry: Registry | None,
        build_vad: Callable[[], VoiceActivityDetector] | None,
        add_ons: AddOnSettings | None,
    ) -> None:
        self._registry = registry
        self._build_vad = build_vad
        self._add_ons = add_ons or AddOnSettings()
        self._context: EndpointContext | None = None

    def get_context(self) -> EndpointContext:
        if self._context is None:
            engines = EnginePool(self._registry or build_standard_registry())
            means = StreamServices(engines, Metrics(), StreamLimits(), build_add_on_services(self._add_ons))
            streams = StreamAdmission(_MAX_STREAMS, means.total_backlog)
            self._context = EndpointContext(means, streams, self._build_vad or build_silero_factory())
        return self._context

    async def close(self) -> None:
        service, self._context = self._context, None
        if service is not None:
            await service.services.addons.close()
            await service.services.engines.close()


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
    core = _CoreContext(registry, build_vad, add_ons)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await core.close()

    router = APIRouter(lifespan=lifespan)
    guard = Authenticator(origins=AllowedOrigins.from_text(allowed_origins, allow_loopback=True))
    router.routes.append(
        WebSocketRoute(CORE_PATH, StreamEndpoint(core.get_context, guard), name="core_stream")
    )
    return router
