"""The portable router: the core endpoint for any FastAPI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.routing import WebSocketRoute

from echoic.engines.seats import standard_registry
from echoic.limits.origins import Origins
from echoic.schedule.pool import Engines
from echoic.server.beside import shared_of
from echoic.server.endpoint import Service, StreamEndpoint
from echoic.server.guard import Guard
from echoic.server.means import Limits, Means
from echoic.server.metrics import Metrics
from echoic.server.settings_addons import AddOnSettings
from echoic.server.streams import Streams
from echoic.server.voice import silero

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from echoic.audio.speech import VoiceActivity
    from echoic.engines.registry import Registry

CORE_PATH: Final = "/core/parakeet/stream"
_MOST_STREAMS: Final = 200


class _Core:
    """The service of one included router: made for the first stream, gone when the application stops."""

    def __init__(
        self,
        registry: Registry | None,
        voice: Callable[[], VoiceActivity] | None,
        add_ons: AddOnSettings | None,
    ) -> None:
        self._registry = registry
        self._voice = voice
        self._add_ons = add_ons or AddOnSettings()
        self._service: Service | None = None

    def service(self) -> Service:
        if self._service is None:
            engines = Engines(self._registry or standard_registry())
            means = Means(engines, Metrics(), Limits(), shared_of(self._add_ons))
            streams = Streams(_MOST_STREAMS, means.waters)
            self._service = Service(means, streams, self._voice or silero())
        return self._service

    async def close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.means.addons.close()
            await service.means.engines.close()


def core_router(
    registry: Registry | None = None,
    voice: Callable[[], VoiceActivity] | None = None,
    *,
    allowed_origins: str = "",
    add_ons: AddOnSettings | None = None,
) -> APIRouter:
    """Return a router with ``WS /core/parakeet/stream``: streams without keys, quotas or fallback.

    It brings its own models, loaded when first asked for, and frees them when the application that
    includes it shuts down. Each call returns a router that shares nothing with another.

    Args:
        registry: The models there are; None: all of this version.
        voice: Makes a stream's voice-activity detector; None: Silero's.
        allowed_origins: Whose pages may open streams beside those of the application itself and of the user's
            own machine, such as ``https://a.example, https://b.example``; ``*``: any.
        add_ons: What is said of speakers and insights; None: the defaults of a server.

    Raises:
        ValueError: Something in ``allowed_origins`` is no origin.
    """
    core = _Core(registry, voice, add_ons)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await core.close()

    router = APIRouter(lifespan=lifespan)
    guard = Guard(origins=Origins.parse(allowed_origins, local=True))
    router.routes.append(WebSocketRoute(CORE_PATH, StreamEndpoint(core.service, guard), name="core_stream"))
    return router
