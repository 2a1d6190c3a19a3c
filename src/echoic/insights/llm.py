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
from echoic.insights.settings import InsightSettings

if TYPE_CHECKING:  # imports OpenAI's client
    from echoic.insights.openai_client import LlmClient, LlmRefusal

log = logging.getLogger(__name__)

#: Bytes of UTF-8 per token: a little less than English has, about what other scripts have.
_BYTES_PER_TOKEN: Final = 4
#: Seconds before the second and the third attempt, with a jitter.
_RETRY_DELAYS: Final = (0.5, 1.5)
#: The maximum number of request formats that are tried per attempt.
_MAX_FORMATS: Final = 6


class LlmProvider:
    """Requests insights from a language model; retries temporary failures within the timeout.

    Args:
        settings: The endpoint and its limits.
        model: The model's name at the endpoint.
    """

    name: Final = "llm"

    def __init__(self, settings: InsightSettings, model: str) -> None:
        self.model = model
        self.max_bytes = settings.input_tokens * _BYTES_PER_TOKEN
        self._settings = settings
        self._request_format = RequestFormat(model, settings.output_tokens)
        self._client: LlmClient | None = None
        self._open_lock = asyncio.Lock()
        self._semaphore = asyncio.Semaphore(settings.parallel)
        self._blocked_until = 0.0

    def warm_up(self) -> None:
        """See ``InsightProvider.warm_up``."""
        if self._client is None:
            self._client = _build_client(self._settings)

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
        """See ``InsightProvider.summarize``."""
        deadline = self._now + self._settings.timeout_seconds
        async with self._semaphore:
            for delay in (*_RETRY_DELAYS, None):
                await self._wait_until_unblocked(deadline)
                outcome = await self._request_findings(segments, stage)
                if not isinstance(outcome, str):
                    return outcome
                problem = outcome
                if delay is None or self._now + delay >= deadline:
                    break
                await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311  # jitter, not a secret
        raise InsightFailed(problem)

    async def close(self) -> None:
        """See ``InsightProvider.close``."""
        if self._client is not None:
            await self._client.close()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait_until_unblocked(self, deadline: float) -> None:
        """Wait until the server's last ``Retry-After`` has passed, if that is before the deadline."""
        wait = self._blocked_until - self._now
        if self._blocked_until >= deadline:
            raise InsightFailed(f"The language model's server accepts no requests for {wait:.0f} s.")
        if wait > 0:
            await asyncio.sleep(wait)

    async def _request_findings(
        self, segments: Sequence[TranscriptSegment], stage: InsightStage
    ) -> Findings | str:
        """Return the findings, or the reason of a temporary failure as a sentence."""
        client = await self._open_client()
        request_format = self._request_format
        for _ in range(_MAX_FORMATS):
            answer = await client.request_answer(request_format, build_messages(segments, stage))
            if isinstance(answer, str):
                self._request_format = request_format
                try:
                    return parse_findings(answer)
                except BadResponse as problem:
                    return problem.message
            simpler = request_format.simplify(answer.body) if answer.is_format_problem else None
            if simpler is None:
                return self._handle_refusal(answer)
            request_format = simpler
        return "The language model's server supports none of the request formats."

    def _handle_refusal(self, refusal: LlmRefusal) -> str:
        """Return the message of a temporary refusal; record its ``Retry-After``.

        Raises:
            InsightFailed: The refusal is permanent.
        """
        values = {"status": refusal.status, "kind": refusal.exception_name, "model": self.model}
        log.info("insight.refused", extra={"event_values": values})
        if not refusal.is_temporary:
            raise InsightFailed(refusal.message)
        if refusal.retry_after:
            self._blocked_until = max(self._blocked_until, self._now + refusal.retry_after)
        return refusal.message

    async def _open_client(self) -> LlmClient:
        async with self._open_lock:
            if self._client is None:  # importing the client and loading its certificates is slow
                self._client = await asyncio.to_thread(_build_client, self._settings)
        return self._client


def _build_client(settings: InsightSettings) -> LlmClient:
    module = import_module("echoic.insights.openai_client")
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return cast("LlmClient", module.LlmClient(settings.base_url, key, settings.timeout_seconds))
