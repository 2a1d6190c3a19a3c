from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from echoic.insights.base import ActionItem, Findings, InsightFailed, TranscriptSegment
from echoic.insights.llm import LlmProvider
from echoic.insights.settings import InsightSettings
from support.fake_llm import GOOD_INSIGHTS, FakeLlm, FakeLlmAnswer, Json, run_fake_llm
from support.timing import WAIT_SECONDS

FOUND = Findings(
    summary=("The launch moves to May.",),
    action_items=(ActionItem("Tell the customers", "Ann"),),
    decisions=("Launch in May.",),
    topics=("launch",),
)
TALK = (
    TranscriptSegment(1, "So the launch moves to May.", 0.0, 1.5, "SPEAKER_00"),
    TranscriptSegment(2, "Ann will tell the customers.", 1.5, 3.0, "SPEAKER_01"),
)
Asked = Callable[..., Awaitable[Findings]]


@pytest.fixture
async def server() -> AsyncIterator[FakeLlm]:
    async with run_fake_llm() as model:
        yield model


@pytest.fixture
async def ask(server: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    monkeypatch.setattr("echoic.insights.llm._RETRY_DELAYS", (0.001, 0.001))
    settings = InsightSettings(
        provider="llm",
        base_url=server.address,
        api_key=SecretStr("s3cret"),
        model="small",
        timeout_seconds=WAIT_SECONDS,
    )
    providers: list[LlmProvider] = []

    async def asked(talk: tuple[TranscriptSegment, ...] = TALK, **changes: float | str) -> Findings:
        if not providers or changes:
            providers.append(LlmProvider(settings.model_copy(update=changes), "small"))
        return await providers[-1].summarize(talk, "final")

    yield asked
    for provider in providers:
        await provider.close()


async def failure(asked: Awaitable[Findings]) -> str:
    with pytest.raises(InsightFailed) as caught:
        await asked
    assert "s3cret" not in caught.value.message
    return caught.value.message


def content_of(request: Json, place: int) -> str:
    messages = request["messages"]
    assert isinstance(messages, list)
    return str(messages[place]["content"])


async def test_the_model_is_asked_for_a_schema_and_its_answer_is_used(server: FakeLlm, ask: Asked) -> None:
    assert await ask() == FOUND
    (request,) = server.requests
    assert server.received_keys == ["Bearer s3cret"]
    assert (request["model"], request["max_tokens"]) == ("small", 1500)
    form = request["response_format"]
    assert isinstance(form, dict)
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert "SPEAKER_00: So the launch moves to May.\nSPEAKER_01: Ann will" in content_of(request, 1)


async def test_an_unsupported_schema_is_dropped_for_good(server: FakeLlm, ask: Asked) -> None:
    def judge(request: Json) -> FakeLlmAnswer | None:
        form = request.get("response_format")
        known = form is None or (isinstance(form, dict) and form["type"] == "json_object")
        return (
            None if known else FakeLlmAnswer(status=400, body=b'{"error": {"message": "response_format?"}}')
        )

    server.choose_answer = judge
    assert await ask() == await ask() == FOUND
    assert len(server.requests) == 3


async def test_without_any_format_the_answer_is_found_in_text(server: FakeLlm, ask: Asked) -> None:
    server.choose_answer = lambda request: FakeLlmAnswer(status=422) if "response_format" in request else None
    server.answers = [
        FakeLlmAnswer(
            f"<think>Hm, {{a}}.</think>Here you are:\n```json\n{json.dumps(GOOD_INSIGHTS)}\n```\nBye."
        )
    ]
    assert await ask() == FOUND


async def test_unsupported_parameters_are_replaced(server: FakeLlm, ask: Asked) -> None:
    def judge(request: Json) -> FakeLlmAnswer | None:
        for name in ("max_tokens", "temperature"):
            if name in request:
                return FakeLlmAnswer(
                    status=400, body=json.dumps({"error": {"message": f"{name}: no"}}).encode()
                )
        return None

    server.choose_answer = judge
    assert await ask() == FOUND
    assert server.requests[-1]["max_completion_tokens"] == 1500
    assert "response_format" in server.requests[-1]


@pytest.mark.parametrize(
    "temporary",
    [
        FakeLlmAnswer(status=500),
        FakeLlmAnswer(status=503, headers={"Retry-After": "0"}),
        FakeLlmAnswer(status=429, headers={"Retry-After": "0"}),
        FakeLlmAnswer("{ no json"),
        FakeLlmAnswer(""),
        FakeLlmAnswer(None),
        FakeLlmAnswer("[1, 2]"),
        FakeLlmAnswer(json.dumps(GOOD_INSIGHTS | {"summary": "one text"})),
        FakeLlmAnswer(json.dumps(GOOD_INSIGHTS | {"action_items": ["Tell them"]})),
        FakeLlmAnswer(json.dumps({"notes": []})),
        FakeLlmAnswer(cut_after=0),
        FakeLlmAnswer(cut_after=150),
        FakeLlmAnswer(body=b"<html>"),
        FakeLlmAnswer(body=b"{}"),
        FakeLlmAnswer(body=b'{"choices": []}'),
        FakeLlmAnswer(body=b'{"choices": [null]}'),
    ],
    ids=str,
)
async def test_a_temporary_failure_is_retried_and_then_reported(
    server: FakeLlm, ask: Asked, temporary: FakeLlmAnswer
) -> None:
    server.answers = [temporary, FakeLlmAnswer()]
    assert await ask() == FOUND
    assert len(server.requests) == 2
    server.answers = [temporary]
    assert (await failure(ask())).startswith("The language model")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("permanent", "message"),
    [
        (FakeLlmAnswer(status=401), "rejects the API key"),
        (FakeLlmAnswer(status=403), "rejects the API key"),
        (FakeLlmAnswer(status=413), "too long"),
        (FakeLlmAnswer(refusal="I cannot do that."), "declines"),
        (FakeLlmAnswer(None, finish_reason="content_filter"), "declines"),
        (FakeLlmAnswer('{"summary": ["On and', finish_reason="length"), "token limit"),
    ],
)
async def test_a_permanent_failure_is_not_retried(
    server: FakeLlm, ask: Asked, permanent: FakeLlmAnswer, message: str
) -> None:
    server.answers = [permanent]
    assert message in await failure(ask())
    assert len(server.requests) == 1


async def test_a_request_rejected_in_every_format_fails(server: FakeLlm, ask: Asked) -> None:
    server.answers = [FakeLlmAnswer(status=400)]
    assert "400" in await failure(ask())
    assert len(server.requests) == 3


async def test_retry_after_is_respected(server: FakeLlm, ask: Asked) -> None:
    server.answers = [FakeLlmAnswer(status=429, headers={"Retry-After": "0.2"}), FakeLlmAnswer()]
    began = asyncio.get_running_loop().time()
    assert await ask() == FOUND
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_retry_after_beyond_the_timeout_blocks_all_requests(server: FakeLlm, ask: Asked) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    server.answers = [FakeLlmAnswer(status=429, headers={"Retry-After": date})]
    assert "no requests for 300 s" in await failure(ask())
    assert await failure(ask())
    assert len(server.requests) == 1


async def test_a_cancelled_request_releases_the_provider(server: FakeLlm, ask: Asked) -> None:
    server.answers = [FakeLlmAnswer(release_event=asyncio.Event())]
    task = asyncio.ensure_future(ask())
    await server.request_received.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.answers = [FakeLlmAnswer()]
    assert await ask() == FOUND


async def test_concurrent_requests_are_limited(server: FakeLlm, ask: Asked) -> None:
    await ask(parallel=2)
    await asyncio.gather(*(ask() for _ in range(8)))
    assert server.max_running <= 2


async def test_no_key_or_transcript_is_logged(
    server: FakeLlm, ask: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [
        FakeLlmAnswer(status=500, body=b"launch s3cret"),
        FakeLlmAnswer("no launch"),
        FakeLlmAnswer(),
    ]
    await ask()
    lines = " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "insight.refused" in lines
    assert "launch" not in lines
    assert "s3cret" not in lines


def test_the_provider_does_not_show_the_api_key() -> None:
    settings = InsightSettings(
        provider="llm", base_url="http://127.0.0.1/v1", api_key=SecretStr("s3cret"), model="m"
    )
    assert "s3cret" not in repr(LlmProvider(settings, "m"))
