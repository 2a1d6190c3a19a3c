"""An OpenAI-compatible endpoint, by OpenAI's client (the extra ``insights``)."""

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

#: What the client wants as a key where the server wants none.
_PLACEHOLDER_KEY: Final = "none"
#: Statuses that say that something in the request is not known there.
_FORMAT_STATUSES: Final = frozenset({400, 404, 415, 422, 501})
#: Statuses that pass, beside those of 500 and more.
_TEMPORARY_STATUSES: Final = frozenset({408, 409, 425, 429})
_SERVER_ERROR: Final = 500
_REDIRECT_STATUSES: Final = range(300, 400)
#: Seconds that a server may have itself left alone at most.
_MAX_RETRY_AFTER: Final = 300.0
#: Bytes of an answer that are read; notes of a talk are a few thousand.
_MAX_RESPONSE_BYTES: Final = 2**20
_STATUS_MESSAGES: Final[Mapping[int, str]] = {
    401: "The language model's server does not take the key.",
    403: "The language model's server does not take the key.",
    404: "The language model's server knows no such model or address.",
    413: "The talk is too long for the language model.",
    429: "The language model's server has too much to do.",
}


@dataclass(frozen=True, slots=True)
class LlmRefusal:
    """What a server answered instead of an answer.

    Attributes:
        status: Of HTTP; 0: there was no answer.
        exception_name: The exception's name, for the log.
        message: A sentence of ours.
        retry_after: Seconds that it asks to be left alone; 0: it does not say.
        body: What it wrote; never shown.
    """

    status: int
    exception_name: str
    message: str
    retry_after: float = 0.0
    body: str = ""

    @property
    def is_temporary(self) -> bool:
        """Whether another try may succeed."""
        return not self.status or self.status in _TEMPORARY_STATUSES or self.status >= _SERVER_ERROR

    @property
    def is_format_problem(self) -> bool:
        """Whether a plainer way to ask may succeed."""
        return self.status in _FORMAT_STATUSES

    def mentions_parameter(self, parameter: str) -> bool:
        """Return whether it is about this parameter."""
        return parameter in self.body


class _ResponseTooLarge(Exception):
    """An answer of more bytes than are read, or packed so that nobody knows how many it has."""


class _BoundedBody(httpx.AsyncByteStream):
    """The body of an answer, up to so many bytes.

    Raises:
        _TooMuch: It has more.
    """

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
        """Let go of the connection."""
        await self._body.aclose()


async def _limit_response(response: httpx.Response) -> None:
    """Have no more read of an answer than ``_MAX_RESPONSE_BYTES``."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _ResponseTooLarge
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _BoundedBody(response.stream)


class Endpoint:
    """Asks one server; making it takes long enough to be done in a thread.

    Args:
        base_url: Where it is.
        api_key: Its key, or None.
        timeout: Seconds that the server may be silent.
    """

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        # At debug level the client logs what it sends, which is what people said.
        logging.getLogger("openai").setLevel(logging.WARNING)
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or _PLACEHOLDER_KEY,
            timeout=timeout,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            # What people said goes to the address in the settings and to no other.
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
        """Return what the model answered, or that the server refused.

        Raises:
            InsightFailed: The model does not want to answer.
        """
        create: Any = self._client.chat.completions.create  # its parameters are typed one by one
        try:
            answer = await create(messages=messages, **request_format.parameters)
        except APIStatusError as error:
            return _build_refusal(error)
        except APITimeoutError as error:
            return LlmRefusal(0, type(error).__name__, "The language model's server does not answer.")
        except _ResponseTooLarge:
            raise InsightFailed("The language model's server answers more than is read.") from None
        except APIConnectionError as error:
            return LlmRefusal(0, type(error).__name__, "The language model's server cannot be reached.")
        except (APIError, ValueError, TypeError) as error:  # an answer that is none
            return LlmRefusal(
                0, type(error).__name__, "The language model's server answers in no form known here."
            )
        return _extract_text(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _extract_text(answer: object) -> str | LlmRefusal:
    """Return the text of a completion, whatever a server may have left out of it."""
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:
        return LlmRefusal(0, "empty", "The language model said nothing.")
    choice = choices[0]
    message = getattr(choice, "message", None)
    if getattr(message, "refusal", None) or getattr(choice, "finish_reason", None) == "content_filter":
        raise InsightFailed("The language model declines to take notes of this talk.")
    text = getattr(message, "content", None)
    if getattr(choice, "finish_reason", None) == "length" and not str(text or "").rstrip().endswith(
        ("}", "`")
    ):
        raise InsightFailed("The language model's answer is longer than it may be.")
    return text if isinstance(text, str) else ""


def _build_refusal(error: APIStatusError) -> LlmRefusal:
    status = error.status_code
    if status in _REDIRECT_STATUSES:
        message = (
            "The language model's server is elsewhere: its address in the settings is not the right one."
        )
        return LlmRefusal(status, type(error).__name__, message)
    message = _STATUS_MESSAGES.get(
        status, f"The language model's server refuses the request (status {status})."
    )
    return LlmRefusal(
        status, type(error).__name__, message, _parse_retry_after(error.response.headers), str(error.body)
    )


def _parse_retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of ``Retry-After``, a number or the distance to a date; so many are enough.

    Source: RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    try:
        return min(max(0.0, float(value)), _MAX_RETRY_AFTER)  # in this order what is no number is 0
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    seconds = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)
