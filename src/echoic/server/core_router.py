"""A router with the core endpoint, for any FastAPI application."""

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
from echoic.insights.settings import InsightSettings
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.metrics import Metrics
from echoic.protocol.constants import CORE_PATH
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.build import build_add_on_services, build_silero_factory
from echoic.server.settings.groups import SpeakerSettings
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
        build_detector: Callable[[], VoiceActivityDetector] | None,
        speakers: SpeakerSettings | None,
        insights: InsightSettings | None,
    ) -> None:
        self._registry = registry
        self._build_detector = build_detector
        self._speakers = speakers or SpeakerSettings()
        self._insights = insights or InsightSettings()
        self._services: StreamServices | None = None

    def get_services(self) -> StreamServices:
        if self._services is None:
            backlog = TotalBacklog()
            self._services = StreamServices(
                EnginePool(self._registry or build_standard_registry()),
                Metrics(),
                StreamLimits(),
                StreamAdmission(_MAX_STREAMS, backlog),
                addons=build_add_on_services(self._speakers, self._insights),
                total_backlog=backlog,
                build_detector=self._build_detector or build_silero_factory(),
            )
        return self._services

    async def close(self) -> None:
        services, self._services = self._services, None
        if services is not None:
            await services.addons.close()
            await services.engines.close()


def core_router(
    registry: Registry | None = None,
    build_detector: Callable[[], VoiceActivityDetector] | None = None,
    *,
    allowed_origins: str = "",
    speakers: SpeakerSettings | None = None,
    insights: InsightSettings | None = None,
) -> APIRouter:
    """Return a router with ``WS /core/parakeet/stream``: streams without keys, quotas or fallback.

    The router loads its models on demand and closes them when the application that includes it shuts down.
    Routers of different calls share nothing.

    Args:
        registry: The models that streams may ask for. None means all models of this version.
        build_detector: Builds the voice-activity detector of a stream. None means Silero's.
        allowed_origins: Web origins that may open streams, such as ``https://a.example, https://b.example``;
            ``*``: any. The application's own origin and loopback origins always may.
        speakers: Diarization and recordings. None means the defaults of a server.
        insights: The provider of insights. None means the defaults of a server.

    Raises:
        ValueError: ``allowed_origins`` contains an invalid origin.
    """
    core = _CoreServices(registry, build_detector, speakers, insights)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await core.close()

    router = APIRouter(lifespan=lifespan)
    authenticator = Authenticator(origins=AllowedOrigins.from_text(allowed_origins, allow_loopback=True))
    router.routes.append(
        WebSocketRoute(CORE_PATH, StreamEndpoint(core.get_services, authenticator), name="core_stream")
    )
    return router
