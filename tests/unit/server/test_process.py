from __future__ import annotations

import socket

import pytest

from echoic.server.process import render_greeting, serve
from echoic.server.settings.groups import Settings
from support.in_memory_app import StartApp


async def test_the_greeting_shows_page_endpoint_and_a_command(start_app: StartApp) -> None:
    app = await start_app()
    ready, page, endpoint, command = render_greeting(app.state.context, 8000)
    assert ready == "echoic is ready (scripted)."
    assert page.endswith(" http://127.0.0.1:8000/")
    assert endpoint.endswith(" ws://127.0.0.1:8000/api/v1/audio/stream/transcribe")
    assert command.endswith(" stream FILE --url ws://127.0.0.1:8000")


async def test_the_greeting_warns_of_an_open_network(start_app: StartApp) -> None:
    app = await start_app(host="::", allow_open_network=True, preload_model="")
    ready, *_, command, warning = render_greeting(app.state.context, 1)
    assert ready == "echoic is ready (no model loaded yet)."
    assert command.endswith("ws://localhost:1")
    assert warning == "  Everyone in the network may use this server: no API key is set."


async def test_the_greeting_mentions_the_key_but_does_not_show_it(start_app: StartApp) -> None:
    app = await start_app(host="::1", api_key="s3cret")
    text = "\n".join(render_greeting(app.state.context, 1))
    assert "ws://[::1]:1 --key KEY" in text
    assert "s3cret" not in text


async def test_the_greeting_says_why_the_server_is_not_ready(start_app: StartApp) -> None:
    app = await start_app(preload_model="")
    app.state.context.readiness.waits_for = "The model is being loaded."
    assert next(render_greeting(app.state.context, 1)) == (
        "echoic cannot transcribe yet: The model is being loaded."
    )


def test_a_port_in_use_ends_the_process_with_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoic.server.process.set_up_logging", lambda *_: None)  # it changes global loggers
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            serve(Settings.model_validate({"port": port}))
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        f"echoic cannot listen on 127.0.0.1 port {port}: address already in use.\n"
    )
