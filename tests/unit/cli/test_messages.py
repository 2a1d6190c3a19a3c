from __future__ import annotations

import pytest

from echoic.cli.messages import NoticeRenderer, suggest_fix
from echoic.client import Error, ServerError, Warning  # noqa: A004  # the protocol's word

FALLBACK = Warning(
    code="model_fallback", message="parakeet is missing, tiny answers instead.", active_model="tiny"
)


def test_each_warning_is_rendered_once() -> None:
    renderer = NoticeRenderer({})
    warning = Warning(code="falling_behind", message="The server is slow.")
    assert [renderer.render_notice(warning) for _ in range(2)] == ["The server is slow.", None]


def test_each_error_is_rendered() -> None:
    renderer, error = NoticeRenderer({}), Error(code="internal_error", message="Not decoded.")
    assert [renderer.render_notice(error) for _ in range(2)] == ["Not decoded."] * 2


def test_a_fallback_is_explained_if_a_model_was_requested() -> None:
    assert NoticeRenderer({"model": "parakeet"}).render_notice(FALLBACK) == FALLBACK.message
    short = NoticeRenderer({}).render_notice(FALLBACK)
    assert short == "Using the model tiny (to list all: echoic models)."


def test_missing_word_times_are_not_reported() -> None:
    warning = Warning(code="word_timestamps_unavailable", message="No word times.")
    assert NoticeRenderer({}).render_notice(warning) is None


@pytest.mark.parametrize(
    ("code", "detail", "fix"),
    [
        ("unreachable", {}, " Start one in another terminal: echoic serve"),
        ("unauthorized", {}, " Pass it with --key KEY or ECHOIC_API_KEY."),
        ("server_busy", {"retry_after": 7}, " Retry after 7 s."),
        ("internal_error", {}, ""),
    ],
)
def test_an_error_suggests_a_fix(code: str, detail: dict[str, object], fix: str) -> None:
    assert suggest_fix(ServerError(code, "Refused.", detail)) == fix
