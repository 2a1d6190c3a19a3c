"""Selects the insight provider of a session, or explains why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from echoic.errors import Unavailable
from echoic.insights.base import InsightProvider
from echoic.insights.scheduler import InsightSchedule, InsightScheduler
from echoic.insights.settings import InsightSettings
from echoic.protocol.frames import Insight, InsightError
from echoic.session.config import InsightOptions

#: The optional package of the provider ``llm``.
_CLIENT_PACKAGE: Final = "openai"
_INSTALL_COMMAND: Final = "pip install 'echoic[insights]'"
_DEFAULT_OPTIONS: Final = InsightOptions()


class InsightProviders:
    """The providers of one server, created on first use and shared by its sessions.

    Args:
        settings: The server's settings of insights.
    """

    def __init__(self, settings: InsightSettings = InsightSettings()) -> None:  # noqa: B008  # it is frozen
        self._settings = settings
        self._providers: dict[tuple[str, str], InsightProvider] = {}

    def warm_up(self) -> None:
        """Load the default provider's modules; blocks for up to a second, so it runs before streams do."""
        provider = self.find_provider()
        if not isinstance(provider, Unavailable):
            provider.warm_up()

    def find_provider(self, options: InsightOptions = _DEFAULT_OPTIONS) -> InsightProvider | Unavailable:
        """Return the provider that a client's options select, or why it is unavailable; makes no request."""
        name = options.provider or self._settings.provider
        if self._settings.provider == "off":
            return Unavailable("Insights are switched off on this server.")
        if name == "llm":
            return self._find_llm(options.model or self._settings.model or "")
        from echoic.insights.rules.summary import RuleProvider  # noqa: PLC0415  # loads word lists

        return self._providers.setdefault(("rules", ""), RuleProvider())

    def build_scheduler(
        self, session: str, options: InsightOptions, on_insight: Callable[[Insight | InsightError], None]
    ) -> InsightScheduler | Unavailable:
        """Create a session's scheduler, or return why there are no insights; call it on the event loop.

        Args:
            session: The session's name.
            options: The client's options.
            on_insight: Called with each frame.
        """
        provider = self.find_provider(options)
        if isinstance(provider, Unavailable):
            return provider
        return InsightScheduler(session, provider, on_insight, self.build_schedule(options))

    def update_scheduler(self, scheduler: InsightScheduler, options: InsightOptions) -> None:
        """Apply a client's new options; pause live insights if their provider is unavailable."""
        provider = self.find_provider(options)
        if isinstance(provider, Unavailable):
            scheduler.pause_live()
        else:
            scheduler.resume_live(provider, self.build_schedule(options))

    def build_schedule(self, options: InsightOptions = _DEFAULT_OPTIONS) -> InsightSchedule:
        """Return a session's schedule; its interval is never shorter than the server's."""
        return InsightSchedule(
            max(options.interval_seconds or 0.0, self._settings.interval_seconds),
            options.window_segments or self._settings.window_segments,
            self._settings.timeout_seconds,
        )

    async def close(self) -> None:
        """Close all providers; every scheduler must have stopped."""
        providers, self._providers = list(self._providers.values()), {}
        await asyncio.gather(*(provider.close() for provider in providers))

    def _find_llm(self, model: str) -> InsightProvider | Unavailable:
        settings = self._settings
        if settings.provider != "llm" or not settings.base_url:
            return Unavailable("This server has no language model.")
        if model not in (settings.model, *settings.models):
            return Unavailable("This server does not offer the requested language model.")
        if find_spec(_CLIENT_PACKAGE) is None:
            return Unavailable(f"The package {_CLIENT_PACKAGE} is not installed.", _INSTALL_COMMAND)
        if ("llm", model) not in self._providers:
            from echoic.insights.llm import LlmProvider  # noqa: PLC0415  # an optional part

            self._providers["llm", model] = LlmProvider(settings, model)
        return self._providers["llm", model]
