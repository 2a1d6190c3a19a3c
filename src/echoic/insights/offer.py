"""The one place where a provider of insights is found, or why there is none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from echoic.errors import Missing
from echoic.insights.watcher import Pace, Watcher
from echoic.session.insight_wishes import InsightWishes

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.insights.base import Provider
    from echoic.wire.frames import Insight, InsightError

ProviderName = Literal["rules", "llm", "off"]
#: The package that speaks to language models, and how it comes.
_CLIENT: Final = "openai"
_INSTALL: Final = "pip install 'echoic[insights]'"
_ANY: Final = InsightWishes()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a server is told about insights.

    Attributes:
        provider: Who makes them; ``off``: nobody.
        base_url: Where the language model is, as OpenAI's clients are told it: often ``…/v1``.
        api_key: Its key, or None: it asks for none.
        model: Its name there.
        models: Further names that clients may ask for.
        interval: Seconds from one insight to the next live one, at least.
        window: Finals that a live insight looks at, at least.
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
    window: int = 6
    timeout: float = 30.0
    input_tokens: int = 16_000
    output_tokens: int = 1_500
    parallel: int = 4


class Offer:
    """The providers of one server, made when first asked for and shared by its sessions.

    Args:
        plan: What the server is told.
    """

    def __init__(self, plan: Plan = Plan()) -> None:
        self._plan = plan
        self._providers: dict[tuple[str, str], Provider] = {}

    def load(self) -> None:
        """Load what its own provider needs; takes up to a second, so it is done before streams run."""
        provider = self.find()
        if not isinstance(provider, Missing):
            provider.load()

    def find(self, wishes: InsightWishes = _ANY) -> Provider | Missing:
        """Return who makes a session's insights, or why nobody does; asks no server."""
        name = wishes.provider or self._plan.provider
        if self._plan.provider == "off":
            return Missing("They are switched off on this server.")
        if name == "llm":
            return self._llm(wishes.model or self._plan.model)
        from echoic.insights.rules import Rules  # noqa: PLC0415  # only where insights are wanted

        return self._providers.setdefault(("rules", ""), Rules())

    def watch(
        self, session: str, wishes: InsightWishes, tell: Callable[[Insight | InsightError], None]
    ) -> Watcher | Missing:
        """Return what makes a session's insights, or why there are none; call it on the event loop.

        Args:
            session: The session's name.
            wishes: What its client asks for.
            tell: Called with each frame.
        """
        provider = self.find(wishes)
        return (
            provider if isinstance(provider, Missing) else Watcher(session, provider, tell, self.pace(wishes))
        )

    def go_on(self, watcher: Watcher, wishes: InsightWishes) -> None:
        """Have a session's insights made as its client now wishes, as far as that can be."""
        provider = self.find(wishes)
        if isinstance(provider, Missing):
            watcher.rest()
        else:
            watcher.go_on(provider, self.pace(wishes))

    def pace(self, wishes: InsightWishes = _ANY) -> Pace:
        """Return when a session's insights are made; never more often than the server was told."""
        interval = max(wishes.interval_seconds or 0.0, self._plan.interval)
        return Pace(interval, wishes.window_segments or self._plan.window, self._plan.timeout)

    async def close(self) -> None:
        """Close what the providers hold; no watcher is at work any more."""
        providers, self._providers = list(self._providers.values()), {}
        await asyncio.gather(*(provider.close() for provider in providers))

    def _llm(self, model: str) -> Provider | Missing:
        plan = self._plan
        if plan.provider != "llm" or not plan.base_url:
            return Missing("This server knows no language model.")
        if model not in (plan.model, *plan.models):
            return Missing("The language model that was asked for is not offered by this server.")
        if find_spec(_CLIENT) is None:
            return Missing(f"The package {_CLIENT} is not installed.", _INSTALL)
        if ("llm", model) not in self._providers:
            from echoic.insights.llm import LanguageModel  # noqa: PLC0415  # imports the package

            self._providers["llm", model] = LanguageModel(plan, model)
        return self._providers["llm", model]
