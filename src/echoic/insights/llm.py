"""Insights by a language model behind an OpenAI-compatible endpoint (the extra ``insights``)."""

from __future__ import annotations

import asyncio
import logging
import random
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from echoic.insights.answer import Unusable, findings_in
from echoic.insights.asking import Asking, messages
from echoic.insights.base import InsightFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.insights.base import Findings, Said, Stage
    from echoic.insights.endpoint import Endpoint, Refusal
    from echoic.insights.offer import Plan

log = logging.getLogger(__name__)

#: Bytes of UTF-8 that count as a token: a little less than English takes, about what other scripts do.
_TOKEN_BYTES: Final = 4
#: Seconds, more or less, before the second try and the third.
_PAUSES: Final = (0.5, 1.5)
#: Ways to ask that are tried, one after the other, until the server takes one.
_MOST_WAYS: Final = 6


class LanguageModel:
    """Asks a language model; what goes wrong for a moment is tried again, within the time there is.

    Args:
        plan: Where it is, and what it may cost.
        model: Its name there.
    """

    name: Final = "llm"

    def __init__(self, plan: Plan, model: str) -> None:
        self.model = model
        self.room = plan.input_tokens * _TOKEN_BYTES
        self._plan = plan
        self._asking = Asking(model, plan.output_tokens)
        self._endpoint: Endpoint | None = None
        self._opening = asyncio.Lock()
        self._places = asyncio.Semaphore(plan.parallel)
        self._closed_until = 0.0

    def load(self) -> None:
        """See ``Provider.load``."""
        if self._endpoint is None:
            self._endpoint = _endpoint(self._plan)

    async def distil(self, said: Sequence[Said], stage: Stage) -> Findings:
        """See ``Provider.distil``."""
        deadline = self._now + self._plan.timeout
        async with self._places:
            for pause in (*_PAUSES, None):
                await self._wait_for_opening(deadline)
                outcome = await self._ask(said, stage)
                if not isinstance(outcome, str):
                    return outcome
                problem = outcome
                if pause is None or self._now + pause >= deadline:
                    break
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311  # not all at once
        raise InsightFailed(problem)

    async def close(self) -> None:
        """See ``Provider.close``."""
        if self._endpoint is not None:
            await self._endpoint.close()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait_for_opening(self, deadline: float) -> None:
        """Wait as long as the server asked everybody to, if that is within the time there is."""
        wait = self._closed_until - self._now
        if self._closed_until >= deadline:
            raise InsightFailed(f"The language model's server asks to be left alone for {wait:.0f} s.")
        if wait > 0:
            await asyncio.sleep(wait)

    async def _ask(self, said: Sequence[Said], stage: Stage) -> Findings | str:
        """Return what the model found, or in a sentence what is worth another try."""
        endpoint = await self._open()
        asking = self._asking
        for _ in range(_MOST_WAYS):
            answer = await endpoint.ask(asking, messages(said, stage))
            if isinstance(answer, str):
                self._asking = asking
                try:
                    return findings_in(answer)
                except Unusable as unusable:
                    return unusable.message
            plainer = asking.plainer(answer) if answer.about_the_asking else None
            if plainer is None:
                return self._judged(answer)
            asking = plainer
        return "The language model's server takes none of the ways to ask it."

    def _judged(self, refusal: Refusal) -> str:
        """Return a refusal that may be over soon, and note until when."""
        values = {"status": refusal.status, "kind": refusal.kind, "model": self.model}
        log.info("insight.refused", extra={"event_values": values})
        if not refusal.passes:
            raise InsightFailed(refusal.message)
        if refusal.wait:
            self._closed_until = max(self._closed_until, self._now + refusal.wait)
        return refusal.message

    async def _open(self) -> Endpoint:
        async with self._opening:
            if self._endpoint is None:  # the client's import and its certificates take a while
                self._endpoint = await asyncio.to_thread(_endpoint, self._plan)
        return self._endpoint


def _endpoint(plan: Plan) -> Endpoint:
    module = import_module("echoic.insights.endpoint")
    return cast("Endpoint", module.Endpoint(plan.base_url, plan.api_key, plan.timeout))
