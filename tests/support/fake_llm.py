"""An OpenAI-compatible server on loopback with scripted answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Json = dict[str, object]
GOOD_INSIGHTS: Json = {
    "summary": ["The launch moves to May."],
    "action_items": [{"description": "Tell the customers", "owner": "Ann"}],
    "decisions": ["Launch in May."],
    "topics": ["launch"],
}


@dataclass
class FakeLlmAnswer:
    """The server's response to one request."""

    content: str | None = field(default_factory=lambda: json.dumps(GOOD_INSIGHTS))
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: Replaces the body with its completion.
    body: bytes | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    #: Bytes of the response after which the connection closes.
    cut_after: int | None = None
    #: The response waits for this event.
    release_event: asyncio.Event | None = None


class FakeLlm:
    """Answers requests with ``answers`` in order; the last is repeated."""

    def __init__(self) -> None:
        self.answers: list[FakeLlmAnswer] = [FakeLlmAnswer()]
        #: Chooses the answer by the request, where it returns one.
        self.choose_answer: Callable[[Json], FakeLlmAnswer | None] = lambda _: None
        self.requests: list[Json] = []
        #: Set at the first request.
        self.request_received = asyncio.Event()
        self.received_keys: list[str] = []
        self.address = ""
        self.running_count = self.max_running = 0

    async def serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        self.running_count += 1
        self.max_running = max(self.max_running, self.running_count)
        try:
            request, key = await _read_request(reader)
            self.requests.append(request)
            self.received_keys.append(key)
            self.request_received.set()
            answer = self.choose_answer(request) or self.answers[0]
            if len(self.answers) > 1:
                self.answers.pop(0)
            if answer.release_event is not None:
                await answer.release_event.wait()
            writer.write(_render_response(answer)[: answer.cut_after])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.running_count -= 1
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[Json, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    return json.loads(body), headers.get("authorization", "")


def _render_response(answer: FakeLlmAnswer) -> bytes:
    message = {"role": "assistant", "content": answer.content, "refusal": answer.refusal}
    completion = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
    }
    body = json.dumps(completion).encode() if answer.body is None else answer.body
    lines = [
        f"HTTP/1.1 {answer.status} Said",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return "\r\n".join((*lines, "", "")).encode() + body


@asynccontextmanager
async def run_fake_llm() -> AsyncIterator[FakeLlm]:
    """Serve for the time of the block."""
    model = FakeLlm()
    server = await asyncio.start_server(model.serve_request, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    model.address = f"http://{host}:{port}/v1"
    async with server:
        yield model
        server.close()
