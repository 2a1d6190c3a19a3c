"""What a server does beside transcribing, and whether it can here."""

from typing import TYPE_CHECKING

from echoic.cli.checks import Check

if TYPE_CHECKING:
    from echoic.server.settings import Settings


def insights(settings: "Settings") -> Check:
    """Return who makes insights; a language model is not asked."""
    from echoic.insights.offer import Missing, Offer

    plan = settings.insights
    found = Offer(plan).find()
    if isinstance(found, Missing):
        return Check("insights", "note", found.reason, found.install)
    where = f"{found.model} at {plan.base_url}" if plan.provider == "llm" else found.model
    return Check("insights", "ok", f"by {found.name}: {where}")
