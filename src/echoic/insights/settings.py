"""The settings that insights are made by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

ProviderName = Literal["rules", "llm", "off"]


def _validate_http_url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise PydanticCustomError("url", "it should begin with http:// or https://")
    return value


def _split_names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


class InsightSettings(BaseModel):
    """Which provider makes insights, and when. The descriptions are those of docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: ProviderName = Field(
        default="rules", description="`rules`, `llm` (a language model), or `off`: no insights."
    )
    base_url: Annotated[str | None, AfterValidator(_validate_http_url)] = Field(
        default=None,
        description=(
            "The base URL of an OpenAI-compatible API, such as `http://127.0.0.1:11434/v1`. "
            "Transcripts are sent to it."
        ),
    )
    api_key: SecretStr | None = Field(
        default=None, repr=False, description="The API key of the language model. Not set: it needs none."
    )
    model: str | None = Field(default=None, min_length=1, description="The name of the language model.")
    models: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        default=(), description="Further models that clients may ask for, separated by commas."
    )
    interval_seconds: float = Field(
        default=90.0,
        ge=1,
        le=3600,
        description="The shortest time between two live insights; a client may ask for a longer one.",
    )
    window_segments: int = Field(
        default=6,
        ge=1,
        le=1000,
        description="A live insight reads every new final, and at least this many of the last ones.",
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="The most time that one insight may take, retries included."
    )
    input_tokens: int = Field(
        default=16_000,
        ge=256,
        le=1_000_000,
        description=(
            "The longest transcript that the model is sent, at four bytes a token; older text is left out."
        ),
    )
    output_tokens: int = Field(
        default=1_500, ge=64, le=100_000, description="The longest answer that the model may give."
    )
    parallel: int = Field(
        default=4, ge=1, le=256, description="Requests to the model at the same time, of all streams."
    )
