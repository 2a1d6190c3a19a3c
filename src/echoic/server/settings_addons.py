"""The settings of what a server does beside transcribing: insights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_core import PydanticCustomError

from echoic.insights.offer import Plan, ProviderName
from echoic.server.sections import INSIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator


def _http_url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise PydanticCustomError("url", "it should begin with http:// or https://")
    return value


class AddOnSettings(BaseModel):
    """What a server is told about its add-ons; times in seconds.

    Attributes:
        insights_provider: Who makes insights: ``rules``, ``llm`` or, ``off``, nobody.
        insights_base_url: Where the language model is; None: there is none.
        insights_api_key: Its key; None: it asks for none.
        insights_model: Its name there.
        insights_models: Further models that clients may ask for, separated by commas.
        insights_interval_seconds: From one insight to the next live one, at least.
        insights_window_segments: Finals that a live insight looks at, at least.
        insights_timeout_seconds: How long one may take, repeats and all.
        insights_input_tokens: The most of a talk that the model is given.
        insights_output_tokens: The most that it may answer.
        insights_parallel: Insights of all streams that the model makes at the same time.
    """

    insights_provider: Annotated[ProviderName, INSIGHTS] = "rules"
    insights_base_url: Annotated[str | None, INSIGHTS, AfterValidator(_http_url)] = None
    insights_api_key: Annotated[SecretStr | None, INSIGHTS, Field(repr=False)] = None
    insights_model: Annotated[str | None, INSIGHTS, Field(min_length=1)] = None
    insights_models: Annotated[str | None, INSIGHTS] = None
    insights_interval_seconds: Annotated[float, INSIGHTS, Field(ge=1, le=3600)] = 90.0
    insights_window_segments: Annotated[int, INSIGHTS, Field(ge=1, le=1000)] = 6
    insights_timeout_seconds: Annotated[float, INSIGHTS, Field(gt=0, le=600)] = 30.0
    insights_input_tokens: Annotated[int, INSIGHTS, Field(ge=256, le=1_000_000)] = 16_000
    insights_output_tokens: Annotated[int, INSIGHTS, Field(ge=64, le=100_000)] = 1_500
    insights_parallel: Annotated[int, INSIGHTS, Field(ge=1, le=256)] = 4

    @property
    def insights(self) -> Plan:
        """What is said about insights, together."""
        key, models = self.insights_api_key, self.insights_models or ""
        return Plan(
            provider=self.insights_provider,
            base_url=self.insights_base_url,
            api_key=key.get_secret_value() if key else None,
            model=self.insights_model or "",
            models=tuple(name.strip() for name in models.split(",") if name.strip()),
            interval=self.insights_interval_seconds,
            window=self.insights_window_segments,
            timeout=self.insights_timeout_seconds,
            input_tokens=self.insights_input_tokens,
            output_tokens=self.insights_output_tokens,
            parallel=self.insights_parallel,
        )


def problems_of_add_ons(settings: AddOnSettings) -> Iterator[str]:
    """Yield a sentence for each thing about add-ons that does not go together."""
    plan = settings.insights
    if plan.provider == "llm" and not (plan.base_url and plan.model):
        yield "[Insights] provider = llm needs base_url and model: where the model is, and its name there."
