"""All conformance cases."""

from __future__ import annotations

from conformance import (
    addon_cases,
    audio_cases,
    config_cases,
    control_cases,
    quota_cases,
    resume_cases,
    segment_cases,
    server_cases,
)
from conformance.client_api import collect_cases

CASES = collect_cases(
    audio_cases,
    config_cases,
    segment_cases,
    control_cases,
    quota_cases,
    resume_cases,
    server_cases,
    addon_cases,
)
