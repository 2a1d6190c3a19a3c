"""The sections of a server's file of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Seconds; what is to last longer is a mistake, and far beyond it timers fail.
MAX_SECONDS: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """The section of the file that a setting stands in.

    Attributes:
        name: As the file has it.
        prefix: What the names of all its settings begin with, and may be left out in the file.
    """

    name: str
    prefix: str = ""


SERVER: Final = SettingsSection("Server")
AUTH: Final = SettingsSection("Auth")
STT: Final = SettingsSection("STT-Settings")
QUOTA: Final = SettingsSection("Audio-Quota")
SPEAKERS: Final = SettingsSection("Speakers", "speakers_")
INSIGHTS: Final = SettingsSection("Insights", "insights_")
