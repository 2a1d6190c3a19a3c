"""Settings: the one place that reads the environment and a file.

What is given by name wins over the environment (``ECHOIC_PORT``), which wins over the file (INI sections).
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from echoic.auth.access import validate_access
from echoic.auth.keys import parse_key_digest
from echoic.auth.network import AddressList, AllowedOrigins
from echoic.engines.onnx_runtime import ExecutionProvider  # pydantic reads the annotations
from echoic.observability.logging import LogFormat, LogLevel
from echoic.quotas.tiers import parse_tier_overrides, parse_tier_setting
from echoic.server.settings.addons import AddOnSettings, validate_add_ons
from echoic.server.settings.load import LoadSettings, validate_load
from echoic.server.settings.sections import AUTH, MAX_SECONDS, QUOTA, SERVER, STT, SettingsSection

ENV_PREFIX: Final = "ECHOIC_"
#: Environment names of the protocol that bear no prefix of ours.
ENV_NAMES: Final = {
    "AUDIO_STREAM_TTL_SECONDS": "stream_ttl_seconds",
    "AUDIO_TIER_LIMITS_JSON": "tier_limits",
    "REDIS_URL": "redis_url",
}
#: Names with our prefix that are not settings of the server: read by the command line and the client.
FOREIGN_ENV_NAMES: Final = frozenset({"ECHOIC_CONFIG", "ECHOIC_URL"})
#: Seconds; a stream's lease is kept within them (protocol, section 9).
MIN_TTL_SECONDS: Final = 30
MAX_TTL_SECONDS: Final = 3600


class SettingsError(Exception):
    """Settings that cannot be used.

    Args:
        problems: A sentence for each thing that is wrong, all of them.
        usable_settings: The settings without those values that cannot be used.
    """

    def __init__(self, problems: Iterable[str], usable_settings: Settings) -> None:
        self.problems = tuple(problems)
        self.usable_settings = usable_settings
        super().__init__(
            "\n".join(("The settings cannot be used:", *(f"- {line}" for line in self.problems)))
        )


def _validate_redis_url(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it should begin with redis://, rediss:// or unix://")
    if find_spec("redis") is None:
        raise ValueError("it needs the extra redis: pip install 'echoic[redis]'")
    return value


def _validate_collector_url(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    if not value.startswith(("http://", "https://")):
        raise ValueError("it should begin with http:// or https://, as http://localhost:4318/v1/traces does")
    if not all(map(_is_importable, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))):
        raise ValueError("it needs the extra otel: pip install 'echoic[otel]'")
    return value


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it stands in
        return False


def _clamp_ttl(value: object) -> object:
    number = int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else value
    return min(max(number, MIN_TTL_SECONDS), MAX_TTL_SECONDS) if isinstance(number, int) else number


def _hash_key(value: object) -> object:
    return parse_key_digest(value) if isinstance(value, str) else value


def _encode_text(value: object) -> object:
    return value.encode() if isinstance(value, str) else value


def _read_contents(value: object) -> object:
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser().read_bytes()
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise PydanticCustomError("file", "this file cannot be read: {reason}", {"reason": reason}) from error


def _validate_list(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str | None) -> str | None:
        try:
            parse(text or "")
        except ValueError as error:
            raise PydanticCustomError("list", "{problem}", {"problem": str(error)}) from error
        return text

    return AfterValidator(check)


def _parse_quantization(value: object) -> object:
    suffix = value.strip() if isinstance(value, str) else value
    if suffix == "none":
        return ""
    if isinstance(suffix, str) and not suffix.isidentifier():
        message = "it is to be none, or what the files' names have, such as int8"
        raise PydanticCustomError("quantization", message)
    return suffix


def _expand_home(folder: Path | None) -> Path | None:
    return folder.expanduser() if folder else None


class Settings(LoadSettings, AddOnSettings):
    """Everything about a server that can be set; times in seconds. Add-ons' settings are those of its base.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0: any free one.
        allow_open_network: Serve beyond loopback although no key is set.
        resume_seconds: How long a session that was asked to outlive its connection waits for another; 0: not
            at all.
        resume_sessions: The most that wait at the same time.
        resume_bytes: What is kept of the frames of each.
        drain_seconds: The most that a stop waits for running streams.
        worker_threads: Threads that decode.
        core_endpoint: Serve ``/core/parakeet/stream``, which asks for no key; None: only where the server
            asks for none either.
        scripted_engine: Offer the recogniser for tests and load, and take every sound for speech.
        tls_cert_file: The certificate, with those between it and a known one, as PEM; None: no TLS.
        tls_key_file: Its key, as PEM without a password; None: it stands in the same file.
        log_level: What is logged.
        log_format: ``text`` (key=value) or ``json``.
        traces_endpoint: Where traces are sent to by OTLP over HTTP; None: there are none.
        traces_share: Of all streams, 0 to 1, those that are traced.
        api_key: Digest of the one key (``secret.written_digest``), or None: no key. It is not kept itself.
        allow_query_token: Take the key from ``?token=`` too.
        auth_timeout_seconds: How long the first message may take when it has to bring the key.
        wrong_keys_per_minute: Wrong keys of one address that are looked at in a minute; 0: all.
        keys_db: Where users' keys are kept, a file or a URL of SQLAlchemy; None: there are none.
        status_needs_key: Whether ``status`` is told only to who has a key.
        metrics_key: Digest of the key that ``/metrics`` asks for, or None: it asks for none.
        jwt_secret: The secret that tokens are signed with (HS256); None: it signs none.
        jwt_public_key_file: What is in the file with the public key of tokens (RS256), as PEM; None: none.
        jwt_issuer: What a token's ``iss`` must be; None: anything.
        jwt_audience: What its ``aud`` must name; None: it must name nobody.
        jwt_leeway_seconds: By how much the clock of who signs it may differ.
        allowed_origins: Whose pages may open streams beside our own; None: where a key is needed nobody's.
        allowed_addresses: Addresses and networks that are answered; None: all.
        trusted_proxies: Those whose ``X-Forwarded-For`` counts; None: nobody's.
        streaming_fallback: On the unified endpoint another model answers when the one asked for cannot.
        preload_model: Loaded at start, and what ``/readyz`` waits for; empty: none.
        streaming_fallback_to_whisper: Then Whisper is tried first, before another Parakeet and the default.
        model_idle_seconds: A model that no stream has open for so long is unloaded, but for the preloaded
            one; 0: never.
        decode_timeout_seconds: A decode that takes longer hangs: the model is loaded anew.
        models_dir: The folder that models are fetched to; None: in this user's cache.
        parakeet_onnx_dir: The folder of the model ``parakeet-onnx``; None: one that was fetched.
        parakeet_nemo_file: The ``.nemo`` file of ``parakeet-standard``, or its folder; None: the same.
        parakeet_mlx_dir: The folder of ``parakeet-mlx``; None: the same.
        whisper_model: The size of Whisper that ``whisper`` means, or a folder; None: the best for a processor
            of those that were fetched.
        parakeet_left_context: Seconds before its window that Parakeet sees; None: as the engine declares.
        parakeet_right_context: Seconds after it; finals say words so much later; None: the same.
        parakeet_lanes: The most windows of different streams that Parakeet decodes together.
        parakeet_quantization: Of ``parakeet-onnx``, ``none`` for full precision; None: the fastest there is.
        decode_cores: Cores that one decode uses.
        onnx_provider: Where onnxruntime computes.
        device: Where torch and CTranslate2 compute.
        stream_ttl_seconds: How long a stream's place is kept after its process died.
        redis_url: Where several processes count streams and minutes together; None: each counts its own.
        failopen_cap_minutes: What a user's new streams may hear while that cannot be reached.
        ready_needs_quotas: Whether ``/readyz`` says no meanwhile; None: where they may hear nothing.
        tier_limits: What differs from the standard tiers, by tier and key; None: unlimited.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, SERVER, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, SERVER, Field(ge=0, le=65_535)] = 8000
    allow_open_network: Annotated[bool, SERVER] = False
    resume_seconds: Annotated[float, SERVER, Field(ge=0, le=600)] = 30.0
    resume_sessions: Annotated[int, SERVER, Field(ge=0)] = 64
    resume_bytes: Annotated[int, SERVER, Field(ge=1024)] = 2**20
    drain_seconds: Annotated[float, SERVER, Field(ge=0, le=MAX_SECONDS)] = 30.0
    worker_threads: Annotated[int, SERVER, Field(ge=1, le=256)] = 2
    core_endpoint: Annotated[bool | None, SERVER] = None
    scripted_engine: Annotated[bool, SERVER] = False
    tls_cert_file: Annotated[Path | None, SERVER, AfterValidator(_expand_home)] = None
    tls_key_file: Annotated[Path | None, SERVER, AfterValidator(_expand_home)] = None
    log_level: Annotated[LogLevel, SERVER] = "info"
    log_format: Annotated[LogFormat, SERVER] = "text"
    traces_endpoint: Annotated[
        str | None, SERVER, BeforeValidator(_validate_collector_url), Field(repr=False)
    ] = None
    traces_share: Annotated[float, SERVER, Field(ge=0, le=1)] = 1.0
    api_key: Annotated[bytes | None, AUTH, BeforeValidator(_hash_key), Field(repr=False)] = None
    allow_query_token: Annotated[bool, AUTH] = True
    auth_timeout_seconds: Annotated[float, AUTH, Field(gt=0, le=MAX_SECONDS)] = 5.0
    wrong_keys_per_minute: Annotated[float, AUTH, Field(ge=0, le=1e6)] = 30.0
    keys_db: Annotated[str | None, AUTH, Field(min_length=1, repr=False)] = None
    status_needs_key: Annotated[bool, AUTH] = False
    metrics_key: Annotated[bytes | None, AUTH, BeforeValidator(_hash_key), Field(repr=False)] = None
    jwt_secret: Annotated[bytes | None, AUTH, BeforeValidator(_encode_text), Field(repr=False)] = None
    jwt_public_key_file: Annotated[bytes | None, AUTH, BeforeValidator(_read_contents), Field(repr=False)] = (
        None
    )
    jwt_issuer: Annotated[str | None, AUTH] = None
    jwt_audience: Annotated[str | None, AUTH] = None
    jwt_leeway_seconds: Annotated[float, AUTH, Field(ge=0, le=300)] = 30.0
    allowed_origins: Annotated[str | None, AUTH, _validate_list(AllowedOrigins.from_text)] = None
    allowed_addresses: Annotated[str | None, AUTH, _validate_list(AddressList.from_text)] = None
    trusted_proxies: Annotated[str | None, AUTH, _validate_list(AddressList.from_text)] = None
    streaming_fallback: Annotated[bool, STT] = True
    preload_model: Annotated[str, STT] = "parakeet"
    streaming_fallback_to_whisper: Annotated[bool, STT] = False
    model_idle_seconds: Annotated[float, STT, Field(ge=0, le=MAX_SECONDS)] = 0.0
    decode_timeout_seconds: Annotated[float, STT, Field(gt=0, le=MAX_SECONDS)] = 120.0
    models_dir: Annotated[Path | None, STT, AfterValidator(_expand_home)] = None
    parakeet_onnx_dir: Annotated[Path | None, STT, AfterValidator(_expand_home)] = None
    parakeet_nemo_file: Annotated[Path | None, STT, AfterValidator(_expand_home)] = None
    parakeet_mlx_dir: Annotated[Path | None, STT, AfterValidator(_expand_home)] = None
    whisper_model: Annotated[str | None, STT, Field(min_length=1)] = None
    parakeet_left_context: Annotated[float | None, STT, Field(ge=0.08, le=60)] = None
    parakeet_right_context: Annotated[float | None, STT, Field(ge=0, le=10)] = None
    parakeet_lanes: Annotated[int, STT, Field(ge=1, le=64)] = 8
    parakeet_quantization: Annotated[str | None, STT, BeforeValidator(_parse_quantization)] = None
    decode_cores: Annotated[int, STT, Field(ge=1, le=256)] = 1
    onnx_provider: Annotated[ExecutionProvider, STT] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], STT] = "auto"
    stream_ttl_seconds: Annotated[int, QUOTA, BeforeValidator(_clamp_ttl)] = 120
    redis_url: Annotated[str | None, QUOTA, BeforeValidator(_validate_redis_url), Field(repr=False)] = None
    failopen_cap_minutes: Annotated[float, QUOTA, Field(ge=0, le=1440)] = 5.0
    ready_needs_quotas: Annotated[bool | None, QUOTA] = None
    tier_limits: Annotated[
        dict[str, dict[str, float | None]], QUOTA, BeforeValidator(parse_tier_overrides)
    ] = {}  # noqa: RUF012  # pydantic copies it

    @property
    def should_serve_core(self) -> bool:
        """Whether the endpoint that asks for no key is served."""
        if self.core_endpoint is not None:
            return self.core_endpoint
        return not self.is_key_required

    @property
    def should_require_quotas(self) -> bool:
        """Whether it is not ready while the store of quotas is away."""
        wanted = self.ready_needs_quotas
        return self.failopen_cap_minutes == 0 if wanted is None else wanted

    @property
    def is_key_required(self) -> bool:
        """Whether streams need a credential."""
        return any(
            one is not None for one in (self.api_key, self.keys_db, self.jwt_secret, self.jwt_public_key_file)
        )


def load_settings(config_file: Path | None, env: Mapping[str, str], **overrides: object) -> Settings:
    """Return the settings from a file, the environment and what is given by name, in rising order.

    Args:
        config_file: An INI file, or None.
        env: The environment; an empty value counts as not set.
        **overrides: Settings by name; None counts as not given.

    Raises:
        SettingsError: Anything unknown or unusable, all of it at once.
    """
    problems: list[str] = []
    given = _GivenSettings()
    if config_file is not None:
        _read_file(config_file, given, problems)
    _read_environment(env, given, problems)
    for name, value in overrides.items():
        if value is not None:
            given.set_value(name, value, name)
            problems += (
                ()
                if name in Settings.model_fields
                else (_describe_unknown(name, name, Settings.model_fields),)
            )
    settings, unusable = _validate_given(given, problems)
    if given.tiers:
        settings = _merge_tiers(settings, given.tiers, problems)
    for names, look in _CROSS_CHECKS:
        if not names & unusable:
            problems += look(settings)
    if problems:
        raise SettingsError(problems, settings)
    return settings


class _GivenSettings:
    """Values by the name of their setting, with the place where each was found."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.sources: dict[str, str] = {}
        self.tiers: dict[str, dict[str, object]] = {}

    def set_value(self, name: str, value: object, source: str) -> None:
        self.values[name] = value
        self.sources[name] = source


def _read_file(file: Path, given: _GivenSettings, problems: list[str]) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text("utf-8"), source=str(file))
    except OSError as error:
        problems.append(f"The file {file} cannot be read: {error.strerror}.")
        return
    except (configparser.Error, UnicodeDecodeError):
        problems.append(
            f"The file {file} is not an INI file of sections with 'name = value' lines, each name once."
        )
        return
    sections = _list_sections()
    for section in parser.sections():
        if section not in sections:
            problems.append(_describe_unknown(f"[{section}]", section, sections))
            continue
        for name, value in parser.items(section):
            tier = parse_tier_setting(name) if section == QUOTA.name else None
            if name in sections[section]:
                given.set_value(sections[section][name], value, f"[{section}] {name}")
            elif tier is not None:
                given.tiers.setdefault(tier[0], {})[tier[1]] = value
            else:
                problems.append(_describe_misplaced(section, name, sections))


def _read_environment(env: Mapping[str, str], given: _GivenSettings, problems: list[str]) -> None:
    known = {ENV_PREFIX + name.upper(): name for name in Settings.model_fields} | ENV_NAMES
    for variable, value in env.items():
        if not value or variable in FOREIGN_ENV_NAMES:
            continue
        if variable in known:
            given.set_value(known[variable], value, variable)
        elif variable.startswith(ENV_PREFIX):
            problems.append(_describe_unknown(variable, variable, known))


def _validate_given(given: _GivenSettings, problems: list[str]) -> tuple[Settings, set[str]]:
    """Return the settings of all values that can be used, and the names of the others."""
    values = {name: value for name, value in given.values.items() if name in Settings.model_fields}
    unusable: set[str] = set()
    try:
        return Settings.model_validate(values), unusable
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(one["loc"][0])
            unusable.add(name)
            problems.append(f"{given.sources[name]}: {one['msg'][0].lower()}{one['msg'][1:]}.")
    usable = {name: value for name, value in values.items() if name not in unusable}
    return Settings.model_validate(usable), unusable


def _merge_tiers(
    settings: Settings, tiers: Mapping[str, Mapping[str, object]], problems: list[str]
) -> Settings:
    """Return the settings with the file's ``<tier>_<key>`` under what ``tier_limits`` says."""
    merged = {tier: dict(keys) for tier, keys in settings.tier_limits.items()}
    for tier, keys in tiers.items():
        for key, value in keys.items():
            try:
                limits = parse_tier_overrides({tier: {key: value}})[tier]
            except ValueError as error:
                problems.append(f"[{QUOTA.name}] {tier}_{key}: {error}.")
            else:
                merged[tier] = {**limits, **merged.get(tier, {})}
    return settings.model_copy(update={"tier_limits": merged})


def _list_sections() -> dict[str, dict[str, str]]:
    """Return, by section, the settings' names as the file may have them and as they are."""
    found: dict[str, dict[str, str]] = {}
    for name, field in Settings.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, SettingsSection):
                found.setdefault(mark.name, {}).update({name.removeprefix(mark.prefix): name, name: name})
    return found


def _describe_misplaced(section: str, name: str, sections: Mapping[str, Mapping[str, str]]) -> str:
    """Return what is wrong with a name that this section does not have."""
    place = f"[{section}] {name}"
    homes = [f"[{other}]" for other, names in sections.items() if names.get(name) == name]
    if parse_tier_setting(name) is not None:
        homes.append(f"[{QUOTA.name}]")
    if homes:
        return f"{place} is not a setting here. It belongs under {' or '.join(homes)}."
    return _describe_unknown(place, name, {**Settings.model_fields, **sections[section]})


def _describe_unknown(source: str, name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name.lower(), (one.lower() for one in known), n=1, cutoff=0.5)
    real = next((one for one in known if nearest and one.lower() == nearest[0]), None)
    return f"{source} is not a setting." + (f" Did you mean {real}?" if real else "")


def _validate_exposure(settings: Settings) -> Iterator[str]:
    if not (settings.is_key_required or settings.allow_open_network or is_loopback(settings.host)):
        yield (
            f"host = {settings.host} opens the server to the network, but no API key is set: "
            "set [Auth] api_key (ECHOIC_API_KEY) or keys_db, or say [Server] allow_open_network = yes."
        )
    if settings.status_needs_key and not settings.is_key_required:
        yield "[Auth] status_needs_key: there is no key that could be asked for."


def _validate_tls(settings: Settings) -> Iterator[str]:
    cert, key = settings.tls_cert_file, settings.tls_key_file
    if cert is None:
        if key is not None:
            yield "[Server] tls_key_file is set, but no tls_cert_file."
        return
    try:
        # Without an answer to the question for a password, the terminal would be asked.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, lambda: b"")
    except (ssl.SSLError, ValueError):
        files = f"{cert} and {key}" if key else f"{cert} alone"
        yield f"[Server] {files} are not a certificate and its key, as PEM and without a password."
    except OSError as error:
        name = "tls_cert_file" if not os.access(cert, os.R_OK) else "tls_key_file"
        yield f"[Server] {name}: this file cannot be read: {(error.strerror or 'no reason given').lower()}."


_CREDENTIAL_SETTINGS: Final = frozenset({"api_key", "keys_db", "jwt_secret", "jwt_public_key_file"})
#: What is looked at of several settings together, unless one of these names is among the unusable.
_CROSS_CHECKS: Final[tuple[tuple[frozenset[str], Callable[[Settings], Iterable[str]]], ...]] = (
    (_CREDENTIAL_SETTINGS | {"host", "allow_open_network"}, _validate_exposure),
    (frozenset(), lambda settings: validate_access(settings, settings.host)),
    (frozenset({"tls_cert_file", "tls_key_file"}), _validate_tls),
    (frozenset({"insights_provider", "insights_base_url", "insights_model"}), validate_add_ons),
    (
        frozenset(name for name in LoadSettings.model_fields if name.endswith("_backlog_seconds")),
        validate_load,
    ),
)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
