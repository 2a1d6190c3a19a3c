"""What a server has beside recognisers, as its settings say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from echoic.errors import Missing
from echoic.insights.offer import InsightProviders
from echoic.schedule.listeners import DiarizerPool
from echoic.server.addons import AddOnServices
from echoic.server.recordings import Recordings
from echoic.server.settings_addons import DIARIZER_OFF
from echoic.session.config import NO_STORAGE, Offers
from echoic.speakers import seats

if TYPE_CHECKING:
    from echoic.server.settings_addons import AddOnSettings
    from echoic.session.insight_wishes import InsightWishes

log = logging.getLogger(__name__)


def build_add_on_services(settings: AddOnSettings) -> AddOnServices:
    """Return it; of models nothing is loaded yet."""
    insights = InsightProviders(settings.insight_settings)
    insights.warm_up()  # later it would hold up streams
    missing = find_missing_diarizer(settings)
    if missing is not None and settings.speakers_diarizer != DIARIZER_OFF:
        log.warning("diarizer.missing", extra={"event_values": {"diarizer": settings.speakers_diarizer}})
    listeners = None
    if missing is None:
        name, model = settings.speakers_diarizer, settings.speakers_model
        listeners = DiarizerPool(
            lambda: seats.load_diarizer(name, model), timeout=settings.speakers_timeout_seconds
        )
    folder = settings.speakers_audio_dir
    recordings = None if folder is None else Recordings(folder.expanduser(), settings.speakers_audio_days)

    def missing_insights(wishes: InsightWishes) -> Missing | None:
        found = insights.find_provider(wishes)
        return _explain_missing("There will be no insights.", found) if isinstance(found, Missing) else None

    return AddOnServices(
        capabilities=Offers(
            diarization=missing,
            storage=None if recordings else NO_STORAGE,
            insights=missing_insights,
        ),
        diarizer_pool=listeners,
        recordings=recordings,
        insight_providers=insights,
    )


def find_missing_diarizer(settings: AddOnSettings) -> Missing | None:
    """Return why speakers cannot be told apart, or None: they can."""
    if settings.speakers_diarizer == DIARIZER_OFF:
        return Missing("Telling speakers apart is switched off on this server.")
    missing = seats.probe_diarizer(settings.speakers_diarizer, settings.speakers_model)
    return None if missing is None else _explain_missing("Speakers cannot be told apart.", missing)


def _explain_missing(consequence: str, missing: Missing) -> Missing:
    return Missing(f"{consequence} {missing.reason}", missing.install)
