"""The settings of what a server does beside transcribing: speakers, insights, and vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path  # pydantic reads the annotations
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from echoic.diarization.models import DEFAULT_DIARIZER, DIARIZER_SPECS
from echoic.insights.base import InsightSettings, ProviderName
from echoic.server.settings.sections import INSIGHTS, SPEAKERS, STT
from echoic.server.vocabulary_files import read_vocabulary_file
from echoic.text.vocabulary import (
    PROMPT_TEMPLATE,
    VocabularyError,
    VocabularyPolicy,
    parse_replacements,
    parse_terms,
)

#: What a server is told that is to tell nobody apart.
DIARIZER_OFF = "off"


def _validate_http_url(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise PydanticCustomError("url", "it should begin with http:// or https://")
    return value


def _validate_diarizer(name: str) -> str:
    known = (DIARIZER_OFF, *DIARIZER_SPECS)
    if name not in known:
        raise PydanticCustomError("diarizer", "it should be one of {known}", {"known": ", ".join(known)})
    return name


def _validate_vocabulary_file(parse: Callable[[str], object]) -> AfterValidator:
    def check(file: Path | None) -> Path | None:
        if file is None:
            return None
        file = file.expanduser()
        try:
            read_vocabulary_file(file, parse)
        except VocabularyError as problem:
            raise PydanticCustomError("vocabulary", "{problem}", {"problem": str(problem)}) from problem
        return file

    return AfterValidator(check)


def _parse_prompt_template(value: object) -> object:
    return value if not isinstance(value, str) or value.strip() else PROMPT_TEMPLATE


class AddOnSettings(BaseModel):
    """What a server is told about its add-ons; times in seconds.

    Attributes:
        speakers_diarizer: Who tells speakers apart; ``off``: nobody.
        speakers_model: The diarizer's weights, where they do not come with the package.
        speakers_timeout_seconds: How long a final may wait to be told who speaks in it.
        speakers_audio_dir: Where audio is stored for clients who ask for it; None: it is not.
        speakers_audio_days: After how many days it is removed; 0: never.
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
        custom_vocab_terms_file: The file of terms to listen for in every session; None: there are none.
        custom_vocab_replacements_file: The file of what is put in place of what in every session.
        custom_vocab_initial_prompt_enable: Tell models that read a prompt of the terms.
        custom_vocab_postprocess_enable: Replace anything, whoever asks for it.
        custom_vocab_prompt_template: The prompt, with ``{terms}`` in it.
        custom_vocab_case_sensitive: Replace only what is written in the same capitals.
    """

    speakers_diarizer: Annotated[str, SPEAKERS, AfterValidator(_validate_diarizer)] = DEFAULT_DIARIZER
    speakers_model: Annotated[Path | None, SPEAKERS] = None
    speakers_timeout_seconds: Annotated[float, SPEAKERS, Field(gt=0, le=60)] = 2.0
    speakers_audio_dir: Annotated[Path | None, SPEAKERS] = None
    speakers_audio_days: Annotated[float, SPEAKERS, Field(ge=0, le=36_500)] = 7.0
    insights_provider: Annotated[ProviderName, INSIGHTS] = "rules"
    insights_base_url: Annotated[str | None, INSIGHTS, AfterValidator(_validate_http_url)] = None
    insights_api_key: Annotated[SecretStr | None, INSIGHTS, Field(repr=False)] = None
    insights_model: Annotated[str | None, INSIGHTS, Field(min_length=1)] = None
    insights_models: Annotated[str | None, INSIGHTS] = None
    insights_interval_seconds: Annotated[float, INSIGHTS, Field(ge=1, le=3600)] = 90.0
    insights_window_segments: Annotated[int, INSIGHTS, Field(ge=1, le=1000)] = 6
    insights_timeout_seconds: Annotated[float, INSIGHTS, Field(gt=0, le=600)] = 30.0
    insights_input_tokens: Annotated[int, INSIGHTS, Field(ge=256, le=1_000_000)] = 16_000
    insights_output_tokens: Annotated[int, INSIGHTS, Field(ge=64, le=100_000)] = 1_500
    insights_parallel: Annotated[int, INSIGHTS, Field(ge=1, le=256)] = 4
    custom_vocab_terms_file: Annotated[Path | None, STT, _validate_vocabulary_file(parse_terms)] = None
    custom_vocab_replacements_file: Annotated[
        Path | None, STT, _validate_vocabulary_file(parse_replacements)
    ] = None
    custom_vocab_initial_prompt_enable: Annotated[bool, STT] = True
    custom_vocab_postprocess_enable: Annotated[bool, STT] = True
    custom_vocab_prompt_template: Annotated[str, STT, BeforeValidator(_parse_prompt_template)] = (
        PROMPT_TEMPLATE
    )
    custom_vocab_case_sensitive: Annotated[bool, STT] = False

    @property
    def vocabulary_policy(self) -> VocabularyPolicy:
        """How vocabularies are used."""
        return VocabularyPolicy(
            self.custom_vocab_prompt_template if self.custom_vocab_initial_prompt_enable else None,
            replaces=self.custom_vocab_postprocess_enable,
            case_sensitive=self.custom_vocab_case_sensitive,
        )

    @property
    def insight_settings(self) -> InsightSettings:
        """What is said about insights, together."""
        key, models = self.insights_api_key, self.insights_models or ""
        return InsightSettings(
            provider=self.insights_provider,
            base_url=self.insights_base_url,
            api_key=key.get_secret_value() if key else None,
            model=self.insights_model or "",
            models=tuple(name.strip() for name in models.split(",") if name.strip()),
            interval=self.insights_interval_seconds,
            window_segments=self.insights_window_segments,
            timeout=self.insights_timeout_seconds,
            input_tokens=self.insights_input_tokens,
            output_tokens=self.insights_output_tokens,
            parallel=self.insights_parallel,
        )


def validate_add_ons(settings: AddOnSettings) -> Iterator[str]:
    """Yield a sentence for each thing about add-ons that does not go together."""
    plan = settings.insight_settings
    if plan.provider == "llm" and not (plan.base_url and plan.model):
        yield "[Insights] provider = llm needs base_url and model: where the model is, and its name there."
