"""Types of settings that are parsed or checked in a way of their own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from echoic.auth.keys import parse_key_digest
from echoic.auth.network import AddressList, AllowedOrigins
from echoic.diarization.models import DIARIZER_SPECS
from echoic.engines.settings import ExpandedPath
from echoic.quotas.tiers import parse_tier_overrides
from echoic.server.vocabulary_files import read_vocabulary_file
from echoic.text.vocabulary import PROMPT_TEMPLATE, VocabularyError, parse_replacements, parse_terms

#: The value of ``speakers_diarizer`` that turns diarization off.
DIARIZER_OFF: Final = "off"
#: Seconds, a week; the event loop's timers fail far beyond it.
MAX_SECONDS: Final = 7 * 86_400.0
#: Seconds; the lease of a stream is clamped to this range (protocol, section 9).
MIN_TTL_SECONDS: Final = 30
MAX_TTL_SECONDS: Final = 3600


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
    except ModuleNotFoundError:  # its parent package is missing
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
        reason = (error.strerror or "no reason given").lower()
        raise PydanticCustomError("file", "this file cannot be read: {reason}", {"reason": reason}) from error


def _parse_prompt_template(value: object) -> object:
    return value if not isinstance(value, str) or value.strip() else PROMPT_TEMPLATE


def _validate_diarizer(name: str) -> str:
    known = (DIARIZER_OFF, *DIARIZER_SPECS)
    if name not in known:
        raise PydanticCustomError("diarizer", "it should be one of {known}", {"known": ", ".join(known)})
    return name


def _validate_list(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str | None) -> str | None:
        try:
            parse(text or "")
        except ValueError as error:
            raise PydanticCustomError("list", "{problem}", {"problem": str(error)}) from error
        return text

    return AfterValidator(check)


def _validate_vocabulary_file(parse: Callable[[str], object]) -> AfterValidator:
    def check(file: Path | None) -> Path | None:
        if file is None:
            return None
        try:
            read_vocabulary_file(file, parse)
        except VocabularyError as problem:
            raise PydanticCustomError("vocabulary", "{problem}", {"problem": str(problem)}) from problem
        return file

    return AfterValidator(check)


#: The digest of a key; given as the key itself or as ``sha256:`` and hexadecimal digits.
KeyDigest = Annotated[bytes | None, BeforeValidator(_hash_key)]
#: A secret as bytes.
SecretBytes = Annotated[bytes | None, BeforeValidator(_encode_text)]
#: The content of a file, given by its path.
FileContents = Annotated[bytes | None, BeforeValidator(_read_contents)]
#: Addresses and networks, separated by commas.
AddressText = Annotated[str | None, _validate_list(AddressList.from_text)]
#: Web origins, separated by commas.
OriginText = Annotated[str | None, _validate_list(AllowedOrigins.from_text)]
RedisUrl = Annotated[str | None, BeforeValidator(_validate_redis_url)]
CollectorUrl = Annotated[str | None, BeforeValidator(_validate_collector_url)]
#: Seconds; out-of-range values are clamped.
LeaseSeconds = Annotated[int, BeforeValidator(_clamp_ttl)]
#: Changed limits by tier and key. None means unlimited.
TierLimitsText = Annotated[dict[str, dict[str, float | None]], BeforeValidator(parse_tier_overrides)]
TermsFile = Annotated[ExpandedPath | None, _validate_vocabulary_file(parse_terms)]
ReplacementsFile = Annotated[ExpandedPath | None, _validate_vocabulary_file(parse_replacements)]
#: A prompt with ``{terms}`` in it; an empty text stands for the default.
PromptTemplate = Annotated[str, BeforeValidator(_parse_prompt_template)]
DiarizerName = Annotated[str, AfterValidator(_validate_diarizer)]
