"""Which voice-activity detector the streams of a server get."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from echoic.errors import ModelUnavailable
from echoic.server.log import log_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.audio.speech import VoiceActivity

log = logging.getLogger(__name__)


def build_silero_factory() -> Callable[[], VoiceActivity] | None:
    """Return what makes a stream's detector, or None where the model is missing: every window is decoded."""
    from echoic.engines.silero import SileroModel  # noqa: PLC0415  # an optional part is imported where it is used

    try:
        return SileroModel().build_detector
    except ModelUnavailable as error:
        log_event(log, logging.WARNING, "voice.unavailable", reason=error.reason, install=error.install)
        return None


def build_scripted_factory() -> Callable[[], VoiceActivity]:
    """Return what makes a detector that takes every sound for speech, as the scripted recogniser needs it."""
    from echoic.engines.scripted import PlateauDetector  # noqa: PLC0415  # for tests and load only

    return PlateauDetector
