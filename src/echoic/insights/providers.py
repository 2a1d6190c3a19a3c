"""The one place where a provider of insights is found, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, Literal

from echoic.errors import Unavailable
from echoic.insights.base import InsightProvider
from echoic.insights.scheduler import InsightSchedule, InsightScheduler
from echoic.protocol.frames import Insight, InsightError
from echoic.session.insight_options import InsightOptions

ProviderName = Literal["rules", "llm", "off"]
#: The package that speaks to language models, and how it comes.
_CLIENT_PACKAGE: Final = "openai"
_INSTALL_COMMAND: Final = "pip install 'echoic[insights]'"
_DEFAULT_OPTIONS: Final = InsightOptions()


@dataclass(frozen=True, slots=True)
class InsightSettings:
    """What a server is told about insights.

    Attributes:
        provider: Who makes them; ``off``: nobody.
        base_url: Where the language model is, as OpenAI's clients are told it: often ``…/v1``.
        api_key: Its key, or None: it asks for none.
        model: Its name there.
        models: Further names that clients may ask for.
        interval: Seconds from one insight to the next live one, at least.
        window_segments: Finals that a live insight looks at, at least.
        timeout: Seconds that one may take, repeats and all.
        input_tokens: The most of a talk that the model is given, counted as four bytes a token.
        output_tokens: The most that it may answer.
        parallel: Insights of all sessions that are made at the same time by the model.
    """

    provider: ProviderName = "rules"
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    models: tuple[str, ...] = ()
    interval: float = 90.0
    window_segments: int = 6
    timeout: float = 30.0
    input_tokens: int = 16_000
    output_tokens: int = 1_500
    parallel: int = 4


class InsightProviders:
    """The providers of one server, made when first asked for and shared by its sessions.

    Args:
        settings: What the server is told.
    """

    def __init__(self, settings: InsightSettings = InsightSettings()) -> None:
        self._settings = settings
        self._providers: dict[tuple[str, str], InsightProvider] = {}

    def warm_up(self) -> None:
        """Load what its own provider needs; takes up to a second, so it is done before streams run."""
        provider = self.find_provider()
        if not isinstance(provider, Unavailable):
            provider.warm_up()

    def find_provider(self, options: InsightOptions = _DEFAULT_OPTIONS) -> InsightProvider | Unavailable:
        """Return who makes a session's insights, or why nobody does; asks no server."""
        name = options.provider or self._settings.provider
        if self._settings.provider == "off":
            return Unavailable("They are switched off on this server.")
        if name == "llm":
            return self._find_llm(options.model or self._settings.model)
        from echoic.insights.rules.summary import RuleProvider  # noqa: PLC0415  # only where insights are wanted

        return self._providers.setdefault(("rules", ""), RuleProvider())

    def build_scheduler(
        self, session: str, options: InsightOptions, on_insight: Callable[[Insight | InsightError], None]
    ) -> InsightScheduler | Unavailable:
        """Return what makes a session's insights, or why there are none; call it on the event loop.

        Args:
            session: The session's name.
            options: What its client asks for.
            on_insight: Called with each frame.
        """
        provider = self.find_provider(options)
        return (
            provider
            if isinstance(provider, Unavailable)
            else InsightScheduler(session, provider, on_insight, self.build_schedule(options))
        )

    def update_scheduler(self, scheduler: InsightScheduler, options: InsightOptions) -> None:
        """Have a session's insights made as its client now wishes, as far as that can be."""
        provider = self.find_provider(options)
        if isinstance(provider, Unavailable):
            scheduler.pause_live()
        else:
            scheduler.resume_live(provider, self.build_schedule(options))

    def build_schedule(self, options: InsightOptions = _DEFAULT_OPTIONS) -> InsightSchedule:
        """Return when a session's insights are made; never more often than the server was told."""
        interval = max(options.interval_seconds or 0.0, self._settings.interval)
        return InsightSchedule(
            interval, options.window_segments or self._settings.window_segments, self._settings.timeout
        )

    async def close(self) -> None:
        """Close what the providers hold; no watcher is at work any more."""
        providers, self._providers = list(self._providers.values()), {}
        await asyncio.gather(*(provider.close() for provider in providers))

    def _find_llm(self, model: str) -> InsightProvider | Unavailable:
        plan = self._settings
        if plan.provider != "llm" or not plan.base_url:
            return Unavailable("This server knows no language model.")
        if model not in (plan.model, *plan.models):
            return Unavailable("The language model that was asked for is not offered by this server.")
        if find_spec(_CLIENT_PACKAGE) is None:
            return Unavailable(f"The package {_CLIENT_PACKAGE} is not installed.", _INSTALL_COMMAND)
        if ("llm", model) not in self._providers:
            from echoic.insights.llm import LlmProvider  # noqa: PLC0415  # imports the package

            self._providers["llm", model] = LlmProvider(plan, model)
        return self._providers["llm", model]
