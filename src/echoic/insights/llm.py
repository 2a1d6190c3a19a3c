"""Insights by a language model behind an OpenAI-compatible endpoint (the extra ``insights``)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from echoic.insights.base import Findings, InsightFailed, InsightStage, TranscriptSegment
from echoic.insights.prompt import BadResponse, RequestFormat, build_messages, parse_findings
from echoic.insights.providers import InsightSettings

if TYPE_CHECKING:
    from echoic.insights.openai_client import Endpoint, LlmRefusal

log = logging.getLogger(__name__)

#: Bytes of UTF-8 that count as a token: a little less than English takes, about what other scripts do.
_BYTES_PER_TOKEN: Final = 4
#: Seconds, more or less, before the second try and the third.
_RETRY_DELAYS: Final = (0.5, 1.5)
#: Ways to ask that are tried, one after the other, until the server takes one.
_MAX_FORMATS: Final = 6


class LlmProvider:
    """Asks a language model; what goes wrong for a moment is tried again, within the time there is.

    Args:
        settings: Where it is, and what it may cost.
        model: Its name there.
    """

    name: Final = "llm"

    def __init__(self, settings: InsightSettings, model: str) -> None:
        self.model = model
        self.max_bytes = settings.input_tokens * _BYTES_PER_TOKEN
        self._settings = settings
        self._request_format = RequestFormat(model, settings.output_tokens)
        self._client: Endpoint | None = None
        self._open_lock = asyncio.Lock()
        self._semaphore = asyncio.Semaphore(settings.parallel)
        self._blocked_until = 0.0

    def warm_up(self) -> None:
        """See ``Provider.load``."""
        if self._client is None:
            self._client = _build_client(self._settings)

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
        """See ``Provider.distil``."""
        deadline = self._now + self._settings.timeout
        async with self._semaphore:
            for pause in (*_RETRY_DELAYS, None):
                await self._wait_until_unblocked(deadline)
                outcome = await self._request_findings(segments, stage)
                if not isinstance(outcome, str):
                    return outcome
                problem = outcome
                if pause is None or self._now + pause >= deadline:
                    break
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311  # not all at once
        raise InsightFailed(problem)

    async def close(self) -> None:
        """See ``Provider.close``."""
        if self._client is not None:
            await self._client.close()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait_until_unblocked(self, deadline: float) -> None:
        """Wait as long as the server asked everybody to, if that is within the time there is."""
        wait = self._blocked_until - self._now
        if self._blocked_until >= deadline:
            raise InsightFailed(f"The language model's server asks to be left alone for {wait:.0f} s.")
        if wait > 0:
            await asyncio.sleep(wait)

    async def _request_findings(
        self, segments: Sequence[TranscriptSegment], stage: InsightStage
    ) -> Findings | str:
        """Return what the model found, or in a sentence what is worth another try."""
        endpoint = await self._open_client()
        asking = self._request_format
        for _ in range(_MAX_FORMATS):
            answer = await endpoint.request_answer(asking, build_messages(segments, stage))
            if isinstance(answer, str):
                self._request_format = asking
                try:
                    return parse_findings(answer)
                except BadResponse as unusable:
                    return unusable.message
            plainer = asking.simplify_after(answer) if answer.is_format_problem else None
            if plainer is None:
                return self._handle_refusal(answer)
            asking = plainer
        return "The language model's server takes none of the ways to ask it."

    def _handle_refusal(self, refusal: LlmRefusal) -> str:
        """Return a refusal that may be over soon, and note until when."""
        values = {"status": refusal.status, "kind": refusal.exception_name, "model": self.model}
        log.info("insight.refused", extra={"event_values": values})
        if not refusal.is_temporary:
            raise InsightFailed(refusal.message)
        if refusal.retry_after:
            self._blocked_until = max(self._blocked_until, self._now + refusal.retry_after)
        return refusal.message

    async def _open_client(self) -> Endpoint:
        async with self._open_lock:
            if self._client is None:  # the client's import and its certificates take a while
                self._client = await asyncio.to_thread(_build_client, self._settings)
        return self._client


def _build_client(settings: InsightSettings) -> Endpoint:
    module = import_module("echoic.insights.openai_client")
    return cast("Endpoint", module.Endpoint(settings.base_url, settings.api_key, settings.timeout))
