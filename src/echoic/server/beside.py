"""What a server has beside recognisers, as its settings say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from echoic.errors import Missing
from echoic.insights.offer import Offer
from echoic.schedule.listeners import Listeners
from echoic.server.addons import Shared
from echoic.server.recordings import Recordings
from echoic.server.settings_addons import OFF
from echoic.session.config import NO_STORAGE, Offers
from echoic.speakers import seats

if TYPE_CHECKING:
    from echoic.server.settings_addons import AddOnSettings
    from echoic.session.insight_wishes import InsightWishes

log = logging.getLogger(__name__)


def shared_of(settings: AddOnSettings) -> Shared:
    """Return it; of models nothing is loaded yet."""
    insights = Offer(settings.insights)
    insights.load()  # later it would hold up streams
    missing = missing_diarizer(settings)
    if missing is not None and settings.speakers_diarizer != OFF:
        log.warning("diarizer.missing", extra={"event_values": {"diarizer": settings.speakers_diarizer}})
    listeners = None
    if missing is None:
        name, model = settings.speakers_diarizer, settings.speakers_model
        listeners = Listeners(lambda: seats.load(name, model), patience=settings.speakers_timeout_seconds)
    folder = settings.speakers_audio_dir
    recordings = None if folder is None else Recordings(folder.expanduser(), settings.speakers_audio_days)

    def missing_insights(wishes: InsightWishes) -> Missing | None:
        found = insights.find(wishes)
        return _because("There will be no insights.", found) if isinstance(found, Missing) else None

    return Shared(
        offers=Offers(
            diarization=missing,
            storage=None if recordings else NO_STORAGE,
            insights=missing_insights,
        ),
        listeners=listeners,
        recordings=recordings,
        insights=insights,
    )


def missing_diarizer(settings: AddOnSettings) -> Missing | None:
    """Return why speakers cannot be told apart, or None: they can."""
    if settings.speakers_diarizer == OFF:
        return Missing("Telling speakers apart is switched off on this server.")
    missing = seats.probe(settings.speakers_diarizer, settings.speakers_model)
    return None if missing is None else _because("Speakers cannot be told apart.", missing)


def _because(what: str, missing: Missing) -> Missing:
    return Missing(f"{what} {missing.reason}", missing.install)
