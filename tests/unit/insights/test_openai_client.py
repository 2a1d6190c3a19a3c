from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from echoic.insights.base import InsightFailed
from echoic.insights.openai_client import LlmClient, LlmRefusal
from echoic.insights.prompt import RequestFormat
from support.fake_llm import FakeLlm, FakeLlmAnswer, run_fake_llm
from support.timing import WAIT_SECONDS

FORMAT = RequestFormat("small", 100)
MESSAGES = [{"role": "user", "content": "What was said?"}]


@pytest.fixture
async def server() -> AsyncIterator[FakeLlm]:
    async with run_fake_llm() as model:
        yield model


@pytest.fixture
async def client(server: FakeLlm) -> AsyncIterator[LlmClient]:
    client = LlmClient(server.address, "s3cret", WAIT_SECONDS)
    yield client
    await client.close()


async def request_refusal(client: LlmClient) -> LlmRefusal:
    refusal = await client.request_answer(FORMAT, MESSAGES)
    assert isinstance(refusal, LlmRefusal)
    assert "s3cret" not in refusal.message
    return refusal


async def test_the_answer_is_the_text_of_the_first_choice(server: FakeLlm, client: LlmClient) -> None:
    server.answers = [FakeLlmAnswer("The text."), FakeLlmAnswer(None)]
    assert await client.request_answer(FORMAT, MESSAGES) == "The text."
    assert server.received_keys == ["Bearer s3cret"]
    assert (server.requests[0]["model"], server.requests[0]["messages"]) == ("small", MESSAGES)
    assert await client.request_answer(FORMAT, MESSAGES) == ""


@pytest.mark.parametrize(
    ("status", "is_temporary", "is_format_problem", "message"),
    [
        (400, False, True, "rejects the request (status 400)"),
        (401, False, False, "rejects the API key"),
        (403, False, False, "rejects the API key"),
        (404, False, True, "no such model or path"),
        (413, False, False, "too long"),
        (422, False, True, "status 422"),
        (429, True, False, "overloaded"),
        (500, True, False, "status 500"),
        (501, True, True, "status 501"),
    ],
)
async def test_an_error_status_is_a_refusal_with_a_sentence(
    server: FakeLlm,
    client: LlmClient,
    status: int,
    *,
    is_temporary: bool,
    is_format_problem: bool,
    message: str,
) -> None:
    server.answers = [FakeLlmAnswer(status=status)]
    refusal = await request_refusal(client)
    assert (refusal.status, refusal.is_temporary) == (status, is_temporary)
    assert refusal.is_format_problem is is_format_problem
    assert message in refusal.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (FakeLlmAnswer(refusal="I cannot do that."), "declines"),
        (FakeLlmAnswer(None, finish_reason="content_filter"), "declines"),
        (FakeLlmAnswer('{"summary": ["On and', finish_reason="length"), "token limit"),
    ],
)
async def test_a_model_that_does_not_answer_fails(
    server: FakeLlm, client: LlmClient, answer: FakeLlmAnswer, message: str
) -> None:
    server.answers = [answer]
    with pytest.raises(InsightFailed, match=message):
        await client.request_answer(FORMAT, MESSAGES)


@pytest.mark.parametrize(
    "answer",
    [
        FakeLlmAnswer(cut_after=0),
        FakeLlmAnswer(cut_after=150),
        FakeLlmAnswer(body=b"<html>"),
        FakeLlmAnswer(body=b"{}"),
        FakeLlmAnswer(body=b'{"choices": []}'),
    ],
    ids=["no response", "cut", "html", "no choices", "empty choices"],
)
async def test_a_malformed_response_is_a_temporary_refusal(
    server: FakeLlm, client: LlmClient, answer: FakeLlmAnswer
) -> None:
    server.answers = [answer]
    refusal = await request_refusal(client)
    assert (refusal.status, refusal.is_temporary) == (0, True)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_transcript_follows_no_redirect(server: FakeLlm, client: LlmClient, status: int) -> None:
    async with run_fake_llm() as other:
        location = {"Location": f"{other.address}/chat/completions"}
        server.answers = [FakeLlmAnswer(status=status, headers=location)]
        assert "redirects" in (await request_refusal(client)).message
        assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        FakeLlmAnswer("x" * 2**20),
        FakeLlmAnswer(headers={"Content-Encoding": "gzip"}),
        FakeLlmAnswer(status=500, body=b"x" * 2**21),
    ],
    ids=["long", "compressed", "long refusal"],
)
async def test_a_response_over_the_maximum_size_fails(
    server: FakeLlm, client: LlmClient, answer: FakeLlmAnswer
) -> None:
    server.answers = [answer]
    with pytest.raises(InsightFailed, match="answer is too long"):
        await client.request_answer(FORMAT, MESSAGES)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), ("2.5", 2.5), ("-1", 0), ("nan", 0), ("soon", 0), ("301", 300), ("1e9", 300), ("inf", 300)],
)
async def test_retry_after_is_at_most_five_minutes(
    server: FakeLlm, client: LlmClient, header: str, seconds: float
) -> None:
    server.answers = [FakeLlmAnswer(status=429, headers={"Retry-After": header})]
    assert (await request_refusal(client)).retry_after == seconds


async def test_retry_after_may_be_a_date(server: FakeLlm, client: LlmClient) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)
    server.answers = [FakeLlmAnswer(status=503, headers={"Retry-After": date})]
    assert (await request_refusal(client)).retry_after == pytest.approx(120, abs=WAIT_SECONDS)


async def test_a_silent_server_is_refused_after_the_timeout(server: FakeLlm) -> None:
    server.answers = [FakeLlmAnswer(release_event=asyncio.Event())]
    client = LlmClient(server.address, None, 0.05)
    assert "does not answer" in (await request_refusal(client)).message
    await client.close()


async def test_an_absent_server_is_refused() -> None:
    client = LlmClient("http://127.0.0.1:9/v1", None, WAIT_SECONDS)
    assert "cannot be reached" in (await request_refusal(client)).message
    await client.close()
