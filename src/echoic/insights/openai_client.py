"""A client of an OpenAI-compatible endpoint (the extra ``insights``)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2 as httpx
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
)

from echoic.insights.base import InsightFailed
from echoic.insights.prompt import RequestFormat

#: OpenAI's client requires a key even if the server does not.
_PLACEHOLDER_KEY: Final = "none"
#: Statuses of a server that does not support a parameter of the request.
_FORMAT_STATUSES: Final = frozenset({400, 404, 415, 422, 501})
#: Temporary statuses below 500.
_TEMPORARY_STATUSES: Final = frozenset({408, 409, 425, 429})
_SERVER_ERROR: Final = 500
_REDIRECT_STATUSES: Final = range(300, 400)
#: The maximum ``Retry-After`` that is respected, in seconds.
_MAX_RETRY_AFTER: Final = 300.0
#: The maximum size of an answer; the usual one has a few thousand bytes.
_MAX_RESPONSE_BYTES: Final = 2**20
_STATUS_MESSAGES: Final[Mapping[int, str]] = {
    401: "The language model's server rejects the API key.",
    403: "The language model's server rejects the API key.",
    404: "The language model's server has no such model or path.",
    413: "The transcript is too long for the language model.",
    429: "The language model's server is overloaded.",
}


@dataclass(frozen=True, slots=True)
class LlmRefusal:
    """A request that failed."""

    #: The HTTP status, or 0 if there was no response.
    status: int
    #: The exception's class, for the log.
    exception_name: str
    #: The reason, as a sentence without text of the response.
    message: str
    #: The server's ``Retry-After`` in seconds, or 0.
    retry_after: float = 0.0
    #: The response's body; never logged.
    body: str = ""

    @property
    def is_temporary(self) -> bool:
        """Whether a retry may succeed."""
        return not self.status or self.status in _TEMPORARY_STATUSES or self.status >= _SERVER_ERROR

    @property
    def is_format_problem(self) -> bool:
        """Whether a request with fewer parameters may succeed."""
        return self.status in _FORMAT_STATUSES


class _ResponseTooLarge(Exception):
    """A response over the maximum size, or a compressed one, whose size is unknown."""


class _BoundedBody(httpx.AsyncByteStream):
    """A response body that raises ``_ResponseTooLarge`` beyond ``_MAX_RESPONSE_BYTES``."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._body:
            size += len(part)
            if size > _MAX_RESPONSE_BYTES:
                raise _ResponseTooLarge
            yield part

    async def aclose(self) -> None:
        """Release the connection."""
        await self._body.aclose()


async def _limit_response(response: httpx.Response) -> None:
    """Limit a response to ``_MAX_RESPONSE_BYTES`` (an event hook of httpx)."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _ResponseTooLarge
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _BoundedBody(response.stream)


class LlmClient:
    """A client of one server; blocks while it is created.

    Args:
        base_url: The base URL of the endpoint.
        api_key: The API key, or None.
        timeout: Seconds without data after which a request fails.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        # At debug level the client would log requests, and so transcripts.
        logging.getLogger("openai").setLevel(logging.WARNING)
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or _PLACEHOLDER_KEY,
            timeout=timeout,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            # Transcripts are sent to the configured address only: no redirects.
            http_client=DefaultAsyncHttpxClient(
                base_url=base_url,
                timeout=timeout,
                follow_redirects=False,
                event_hooks={"response": [_limit_response]},
            ),
        )

    async def request_answer(
        self, request_format: RequestFormat, messages: list[dict[str, str]]
    ) -> str | LlmRefusal:
        """Return the model's answer, or why the request failed.

        Raises:
            InsightFailed: A retry would fail too: the model declines, or the answer is too long.
        """
        create: Any = self._client.chat.completions.create  # its overloads do not accept **kwargs
        try:
            answer = await create(messages=messages, **request_format.parameters)
        except APIStatusError as error:
            return _build_refusal(error)
        except APITimeoutError as error:
            return LlmRefusal(0, type(error).__name__, "The language model's server does not answer.")
        except _ResponseTooLarge:
            raise InsightFailed("The language model's answer is too long.") from None
        except APIConnectionError as error:
            return LlmRefusal(0, type(error).__name__, "The language model's server cannot be reached.")
        except (APIError, ValueError, TypeError) as error:  # a malformed response
            return LlmRefusal(
                0, type(error).__name__, "The language model's server sent a malformed response."
            )
        return _extract_text(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _extract_text(answer: object) -> str | LlmRefusal:
    """Return the text of a completion; servers may omit any of its fields."""
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:
        return LlmRefusal(0, "empty", "The language model's answer is empty.")
    choice = choices[0]
    message = getattr(choice, "message", None)
    if getattr(message, "refusal", None) or getattr(choice, "finish_reason", None) == "content_filter":
        raise InsightFailed("The language model declines to summarize this transcript.")
    text = getattr(message, "content", None)
    if getattr(choice, "finish_reason", None) == "length" and not str(text or "").rstrip().endswith(
        ("}", "`")
    ):
        raise InsightFailed("The language model's answer exceeds the token limit.")
    return text if isinstance(text, str) else ""


def _build_refusal(error: APIStatusError) -> LlmRefusal:
    status = error.status_code
    if status in _REDIRECT_STATUSES:
        message = (
            "The language model's server redirects requests. Set [Insights] base_url to its final address."
        )
        return LlmRefusal(status, type(error).__name__, message)
    message = _STATUS_MESSAGES.get(
        status, f"The language model's server rejects the request (status {status})."
    )
    return LlmRefusal(
        status, type(error).__name__, message, _parse_retry_after(error.response.headers), str(error.body)
    )


def _parse_retry_after(headers: Mapping[str, str]) -> float:
    """Return ``Retry-After`` in seconds, at most ``_MAX_RETRY_AFTER``; 0 if it is missing or invalid.

    Source: RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    try:
        return min(max(0.0, float(value)), _MAX_RETRY_AFTER)  # this order turns NaN into 0
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    seconds = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)
