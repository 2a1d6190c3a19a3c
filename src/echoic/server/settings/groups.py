"""The settings of a server: one model for each section of the file, and the table of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from echoic.diarization.models import DEFAULT_DIARIZER
from echoic.engines.settings import EngineSettings, ExpandedPath
from echoic.insights.settings import InsightSettings
from echoic.server.settings.fields import (
    MAX_SECONDS,
    AddressText,
    DiarizerName,
    FileContents,
    KeyDigest,
    LeaseSeconds,
    OriginText,
    PromptTemplate,
    RedisUrl,
    ReplacementsFile,
    SecretBytes,
    TermsFile,
    TierLimitsText,
)
from echoic.server.settings.server_section import ServerSettings
from echoic.text.vocabulary import PROMPT_TEMPLATE, VocabularyPolicy

ENV_PREFIX: Final = "ECHOIC_"
#: Environment variables without the prefix, which the protocol prescribes.
ENV_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AUDIO_STREAM_TTL_SECONDS": "stream_ttl_seconds",
        "AUDIO_TIER_LIMITS_JSON": "tier_limits",
        "REDIS_URL": "redis_url",
    }
)
#: Environment variables with the prefix that the command line and the client read.
FOREIGN_ENV_NAMES: Final = frozenset({"ECHOIC_CONFIG", "ECHOIC_URL"})


class AuthSettings(BaseModel):
    """Keys, tokens, and the addresses and web pages that may connect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: KeyDigest = Field(
        default=None,
        repr=False,
        description=(
            "The single API key, or `sha256:` and its hexadecimal SHA-256. Only its digest is kept "
            "in memory. "
            "Not set: there is no single key."
        ),
    )
    allow_query_token: bool = Field(
        default=True,
        description=(
            "Accept the key as `?token=` too. Proxies may log URLs: set `no` if no client needs it."
        ),
    )
    auth_timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=MAX_SECONDS,
        description="How long the server waits for a first message with the key.",
    )
    wrong_keys_per_minute: float = Field(
        default=30.0,
        ge=0,
        le=1e6,
        description=(
            "[Wrong keys](operations.md#network-access) that are checked per address and minute, "
            "and the size of a burst; 0 means unlimited."
        ),
    )
    keys_db: str | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description=(
            "The store of [users' keys](operations.md#keys): a file, or an SQLAlchemy URL with an "
            "asynchronous driver."
        ),
    )
    status_needs_key: bool = Field(
        default=False, description="Require a key, of any kind and scope, for `status`."
    )
    metrics_key: KeyDigest = Field(
        default=None,
        repr=False,
        description=(
            "The key for `/metrics`, sent as `Authorization: Bearer` or `X-API-KEY`; written like `api_key`. "
            "No other key is accepted there. Not set: `/metrics` needs no key."
        ),
    )
    jwt_secret: SecretBytes = Field(
        default=None,
        repr=False,
        description=(
            "The shared secret of [tokens](operations.md#tokens) signed with HS256, at least 32 bytes."
        ),
    )
    jwt_public_key_file: FileContents = Field(
        default=None,
        repr=False,
        description="A PEM file with the RSA public key of tokens signed with RS256.",
    )
    jwt_issuer: str | None = Field(default=None, description="The required `iss` of a token. Not set: any.")
    jwt_audience: str | None = Field(
        default=None, description="The required `aud` of a token. Not set: a token with an `aud` is rejected."
    )
    jwt_leeway_seconds: float = Field(
        default=30.0, ge=0, le=300, description="The tolerated clock difference to the issuer of tokens."
    )
    allowed_origins: OriginText = Field(
        default=None,
        description=(
            "Web origins that may open streams and [import the client](page.md#the-javascript-client), "
            "besides the server's own page: `https://a.example, https://b.example`; `*`: any. "
            "Not set: no other origin, except pages served by the user's own machine "
            "(`http://localhost:3000`) "
            "if the server needs no key. Clients that are not browsers are not affected. "
            "A server without keys also [accepts these host names](operations.md#network-access)."
        ),
    )
    allowed_addresses: AddressText = Field(
        default=None,
        description=(
            "Client addresses and networks that may use any endpoint: `192.0.2.7, 10.0.0.0/8, fd00::/8`. "
            "Not set: all."
        ),
    )
    trusted_proxies: AddressText = Field(
        default=None,
        description=(
            "Addresses and networks of reverse proxies whose `X-Forwarded-For` is trusted. "
            "Not set: the header is ignored."
        ),
    )

    @property
    def is_key_required(self) -> bool:
        """Whether a stream needs a credential."""
        credentials = (self.api_key, self.keys_db, self.jwt_secret, self.jwt_public_key_file)
        return any(one is not None for one in credentials)


class SttSettings(EngineSettings):
    """The models, their fallback, and the server's vocabulary."""

    preload_model: str = Field(
        default="parakeet",
        description=(
            "The model that is loaded at startup, or its fallback. `/readyz` waits for it. "
            "An empty value in the file: none."
        ),
    )
    streaming_fallback: bool = Field(
        default=True,
        description="On the unified endpoint, use another model if the requested one is unavailable.",
    )
    model_idle_seconds: float = Field(
        default=0.0,
        ge=0,
        le=MAX_SECONDS,
        description=(
            "A model that no stream uses for this long is unloaded, and loaded again on demand; "
            "0 means never. The preloaded model stays loaded."
        ),
    )
    decode_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "A decode that takes longer counts as hung: the model is reloaded and each window is "
            "retried alone. "
            "Choose far more than a decode takes on this machine."
        ),
    )
    custom_vocab_terms_file: TermsFile = Field(
        default=None,
        description=(
            "A file of [terms](vocabulary.md) that are boosted in every session, if the model supports it."
        ),
    )
    custom_vocab_replacements_file: ReplacementsFile = Field(
        default=None, description="A file of [replacements](vocabulary.md) that are applied in every session."
    )
    custom_vocab_initial_prompt_enable: bool = Field(
        default=True, description="Include the terms in the prompt of models that have one (Whisper)."
    )
    custom_vocab_postprocess_enable: bool = Field(
        default=True, description="Apply replacements, the server's and the sessions'."
    )
    custom_vocab_prompt_template: PromptTemplate = Field(
        default=PROMPT_TEMPLATE, description="The prompt; `{terms}` is replaced by the first 64 terms."
    )
    custom_vocab_case_sensitive: bool = Field(
        default=False, description="Match replacements case-sensitively."
    )

    @property
    def vocabulary_policy(self) -> VocabularyPolicy:
        """How vocabularies are applied."""
        return VocabularyPolicy(
            self.custom_vocab_prompt_template if self.custom_vocab_initial_prompt_enable else None,
            replaces=self.custom_vocab_postprocess_enable,
            case_sensitive=self.custom_vocab_case_sensitive,
        )


class QuotaSettings(BaseModel):
    """The limits of users, and the store that counts what they use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream_ttl_seconds: LeaseSeconds = Field(
        default=120,
        description=(
            "How long the lease of a stream is held after its process died; clamped to the range 30 to 3600."
        ),
    )
    redis_url: RedisUrl = Field(
        default=None,
        repr=False,
        description=(
            "The Redis in which several processes count streams and minutes together: `redis://`, "
            "`rediss://` or "
            "`unix://`; needs the extra `redis`. Not set: each process counts on its own."
        ),
    )
    failopen_cap_minutes: float = Field(
        default=5.0,
        ge=0,
        le=1440,
        description=(
            "The audio that a user's new streams may send in total "
            "[while Redis is unreachable](operations.md#when-redis-is-unreachable)."
        ),
    )
    ready_needs_quotas: bool | None = Field(
        default=None,
        description=(
            "Whether `/readyz` answers 503 "
            "[while Redis is unreachable](operations.md#when-redis-is-unreachable). "
            "Not set: only if `failopen_cap_minutes` is 0; otherwise it answers 200 and `degraded`."
        ),
    )
    tier_limits: TierLimitsText = Field(
        default_factory=dict,
        description=(
            "Changes to the standard [tiers](operations.md#quotas), as JSON: "
            '`{"free": {"daily_minutes": 60, "concurrent_streams": 2}}`.'
        ),
    )

    @property
    def is_store_required(self) -> bool:
        """Whether the server is not ready while the quota store is unreachable."""
        wanted = self.ready_needs_quotas
        return self.failopen_cap_minutes == 0 if wanted is None else wanted


class SpeakerSettings(BaseModel):
    """Diarization, and the recordings of audio."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diarizer: DiarizerName = Field(
        default=DEFAULT_DIARIZER,
        description="The diarizer; `off`: none. `echoic doctor` lists the diarizers and what they need.",
    )
    model: Path | None = Field(
        default=None, description="The weights of a diarizer that does not come with the package."
    )
    timeout_seconds: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description=(
            "How long a final waits for its speakers after the recogniser is done. "
            "It waits up to 10 s longer while the diarizer's model is loaded, once, "
            "and for audio that arrives faster than real time until the audio would have been played, "
            "30 s at most."
        ),
    )
    audio_dir: ExpandedPath | None = Field(
        default=None,
        description=(
            "The folder for the audio of sessions that ask for `store_audio`: WAV files "
            "that only the server's user can read. Not set: no audio is stored."
        ),
    )
    audio_days: float = Field(
        default=7.0, ge=0, le=36_500, description="Days after which a recording is deleted; 0 means never."
    )


class Settings(BaseModel):
    """All settings of a server, in the groups of their sections.

    They may also be given by flat names: ``Settings.model_validate({"port": 0, "keys_db": "keys.db"})``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    stt: SttSettings = SttSettings()
    quota: QuotaSettings = QuotaSettings()
    speakers: SpeakerSettings = SpeakerSettings()
    insights: InsightSettings = InsightSettings()

    @model_validator(mode="before")
    @classmethod
    def _group_flat_names(cls, values: object) -> object:
        if not isinstance(values, Mapping):
            return values
        grouped: dict[str, object] = {}
        flat: dict[str, dict[str, object]] = {}
        for name, value in values.items():
            if (setting := SETTINGS.get(name)) is not None:
                flat.setdefault(setting.group, {})[setting.field] = value
            else:
                grouped[name] = value
        return grouped | flat

    @property
    def is_core_served(self) -> bool:
        """Whether the endpoint that needs no key is served."""
        if self.server.core_endpoint is not None:
            return self.server.core_endpoint
        return not self.auth.is_key_required


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the file of settings."""

    #: Its name, without brackets.
    name: str
    #: The group of its settings.
    model: type[BaseModel]
    #: The prefix of its settings' names, which the file may leave out.
    prefix: str = ""


#: The sections by the attributes of ``Settings`` that hold their groups.
SECTIONS: Final[Mapping[str, Section]] = MappingProxyType(
    {
        "server": Section("Server", ServerSettings),
        "auth": Section("Auth", AuthSettings),
        "stt": Section("STT-Settings", SttSettings),
        "quota": Section("Audio-Quota", QuotaSettings),
        "speakers": Section("Speakers", SpeakerSettings, "speakers_"),
        "insights": Section("Insights", InsightSettings, "insights_"),
    }
)


@dataclass(frozen=True, slots=True)
class Setting:
    """The names of one setting."""

    #: The unique name, as in the environment and in arguments of ``load_settings``.
    name: str
    #: The section of the file, without brackets.
    section: str
    #: The attribute of ``Settings`` that holds its group.
    group: str
    #: The attribute of the group; the file may use it as a shorter name.
    field: str
    #: Its type, default and description.
    info: FieldInfo

    @property
    def env_names(self) -> tuple[str, ...]:
        """Its environment variables."""
        aliases = (variable for variable, name in ENV_NAMES.items() if name == self.name)
        return (*aliases, ENV_PREFIX + self.name.upper())


#: All settings by their names, section by section.
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        section.prefix + field: Setting(section.prefix + field, section.name, group, field, info)
        for group, section in SECTIONS.items()
        for field, info in section.model.model_fields.items()
    }
)
