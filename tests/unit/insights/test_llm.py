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
from support.loopback_llm import GOOD_INSIGHTS, Json, LoopbackAnswer, LoopbackLlm, run_loopback_llm
from support.patience import WAIT_SECONDS

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
async def server() -> AsyncIterator[LoopbackLlm]:
    async with run_loopback_llm() as model:
        yield model


@pytest.fixture
async def ask(server: LoopbackLlm, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
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


async def test_the_model_is_asked_for_a_schema_and_its_answer_is_used(
    server: LoopbackLlm, ask: Asked
) -> None:
    assert await ask() == FOUND
    (request,) = server.requests
    assert server.received_keys == ["Bearer s3cret"]
    assert (request["model"], request["max_tokens"]) == ("small", 1500)
    form = request["response_format"]
    assert isinstance(form, dict)
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True
    assert "SPEAKER_00: So the launch moves to May.\nSPEAKER_01: Ann will" in content_of(request, 1)


async def test_an_unsupported_schema_is_dropped_for_good(server: LoopbackLlm, ask: Asked) -> None:
    def judge(request: Json) -> LoopbackAnswer | None:
        form = request.get("response_format")
        known = form is None or (isinstance(form, dict) and form["type"] == "json_object")
        return (
            None if known else LoopbackAnswer(status=400, body=b'{"error": {"message": "response_format?"}}')
        )

    server.choose_answer = judge
    assert await ask() == await ask() == FOUND
    assert len(server.requests) == 3


async def test_without_any_format_the_answer_is_found_in_text(server: LoopbackLlm, ask: Asked) -> None:
    server.choose_answer = lambda request: (
        LoopbackAnswer(status=422) if "response_format" in request else None
    )
    server.answers = [
        LoopbackAnswer(
            f"<think>Hm, {{a}}.</think>Here you are:\n```json\n{json.dumps(GOOD_INSIGHTS)}\n```\nBye."
        )
    ]
    assert await ask() == FOUND


async def test_unsupported_parameters_are_replaced(server: LoopbackLlm, ask: Asked) -> None:
    def judge(request: Json) -> LoopbackAnswer | None:
        for name in ("max_tokens", "temperature"):
            if name in request:
                return LoopbackAnswer(
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
        LoopbackAnswer(status=500),
        LoopbackAnswer(status=503, headers={"Retry-After": "0"}),
        LoopbackAnswer(status=429, headers={"Retry-After": "0"}),
        LoopbackAnswer("{ no json"),
        LoopbackAnswer(""),
        LoopbackAnswer(None),
        LoopbackAnswer("[1, 2]"),
        LoopbackAnswer(json.dumps(GOOD_INSIGHTS | {"summary": "one text"})),
        LoopbackAnswer(json.dumps(GOOD_INSIGHTS | {"action_items": ["Tell them"]})),
        LoopbackAnswer(json.dumps({"notes": []})),
        LoopbackAnswer(cut_after=0),
        LoopbackAnswer(cut_after=150),
        LoopbackAnswer(body=b"<html>"),
        LoopbackAnswer(body=b"{}"),
        LoopbackAnswer(body=b'{"choices": []}'),
        LoopbackAnswer(body=b'{"choices": [null]}'),
    ],
    ids=str,
)
async def test_a_temporary_failure_is_retried_and_then_reported(
    server: LoopbackLlm, ask: Asked, temporary: LoopbackAnswer
) -> None:
    server.answers = [temporary, LoopbackAnswer()]
    assert await ask() == FOUND
    assert len(server.requests) == 2
    server.answers = [temporary]
    assert (await failure(ask())).startswith("The language model")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("permanent", "message"),
    [
        (LoopbackAnswer(status=401), "rejects the API key"),
        (LoopbackAnswer(status=403), "rejects the API key"),
        (LoopbackAnswer(status=413), "too long"),
        (LoopbackAnswer(refusal="I cannot do that."), "declines"),
        (LoopbackAnswer(None, finish_reason="content_filter"), "declines"),
        (LoopbackAnswer('{"summary": ["On and', finish_reason="length"), "token limit"),
    ],
)
async def test_a_permanent_failure_is_not_retried(
    server: LoopbackLlm, ask: Asked, permanent: LoopbackAnswer, message: str
) -> None:
    server.answers = [permanent]
    assert message in await failure(ask())
    assert len(server.requests) == 1


async def test_a_request_rejected_in_every_format_fails(server: LoopbackLlm, ask: Asked) -> None:
    server.answers = [LoopbackAnswer(status=400)]
    assert "400" in await failure(ask())
    assert len(server.requests) == 3


async def test_retry_after_is_respected(server: LoopbackLlm, ask: Asked) -> None:
    server.answers = [LoopbackAnswer(status=429, headers={"Retry-After": "0.2"}), LoopbackAnswer()]
    began = asyncio.get_running_loop().time()
    assert await ask() == FOUND
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_retry_after_beyond_the_timeout_blocks_all_requests(server: LoopbackLlm, ask: Asked) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    server.answers = [LoopbackAnswer(status=429, headers={"Retry-After": date})]
    assert "no requests for 300 s" in await failure(ask())
    assert await failure(ask())
    assert len(server.requests) == 1


async def test_a_cancelled_request_releases_the_provider(server: LoopbackLlm, ask: Asked) -> None:
    server.answers = [LoopbackAnswer(release_event=asyncio.Event())]
    task = asyncio.ensure_future(ask())
    await server.request_received.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.answers = [LoopbackAnswer()]
    assert await ask() == FOUND


async def test_concurrent_requests_are_limited(server: LoopbackLlm, ask: Asked) -> None:
    await ask(parallel=2)
    await asyncio.gather(*(ask() for _ in range(8)))
    assert server.max_running <= 2


async def test_no_key_or_transcript_is_logged(
    server: LoopbackLlm, ask: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [
        LoopbackAnswer(status=500, body=b"launch s3cret"),
        LoopbackAnswer("no launch"),
        LoopbackAnswer(),
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
