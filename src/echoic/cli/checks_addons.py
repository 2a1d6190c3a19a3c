"""What a server does beside transcribing, and whether it can here."""

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from echoic.cli.checks import CheckResult

#: Seconds that an address has to take a connection.
_CONNECT_TIMEOUT = 2.0

if TYPE_CHECKING:
    from echoic.server.settings import Settings


def inspect_insights(settings: "Settings") -> CheckResult:
    """Return who makes insights; a language model is not asked, only called on."""
    from echoic.errors import Missing
    from echoic.insights.offer import InsightProviders

    plan = settings.insight_settings
    found = InsightProviders(plan).find_provider()
    if isinstance(found, Missing):
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
