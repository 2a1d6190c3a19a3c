from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from echoic.errors import AccessRefused, ErrorCode
from echoic.server.app import build_app
from echoic.server.schemas import build_key_dependencies, build_refusal_schemas, render_refusal
from echoic.server.settings.groups import Settings

if TYPE_CHECKING:
    from schemathesis import Case

KEYED = {"api_key": "right", "status_needs_key": True, "metrics_key": "scrape", "wrong_keys_per_minute": 0}
PATHS = ["/api/v1/audio/stream/limits", "/api/v1/audio/stream/status", "/healthz", "/metrics", "/readyz"]


@pytest.mark.parametrize("given_settings", [{}, KEYED])
def test_the_application_matches_its_schema(given_settings: dict[str, object]) -> None:
    app = build_app(Settings.model_validate({"preload_model": "", "scripted_engine": True} | given_settings))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
    assert sorted(operation.path for operation in operations) == PATHS
    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=20, suppress_health_check=list(HealthCheck), database=None)
        def answers(case: Case[Any]) -> None:
            case.call_and_validate()

        answers()


@pytest.mark.parametrize(
    ("refusal", "status", "header"),
    [
        (AccessRefused(ErrorCode.UNAUTHORIZED, "No key."), 401, ("www-authenticate", "Bearer")),
        (AccessRefused(ErrorCode.FORBIDDEN, "No right."), 403, None),
        (AccessRefused(ErrorCode.SERVER_BUSY, "Later.", retry_after=7), 429, ("retry-after", "7")),
        (AccessRefused(ErrorCode.SERVER_BUSY, "Down."), 503, None),
    ],
)
def test_a_refusal_has_the_status_of_its_code(
    refusal: AccessRefused, status: int, header: tuple[str, str] | None
) -> None:
    response = render_refusal(refusal)
    assert response.status_code == status
    assert header is None or response.headers[header[0]] == header[1]


def test_only_endpoints_with_a_key_describe_one() -> None:
    assert set(build_refusal_schemas(requires_key=False)) == {403}
    assert set(build_refusal_schemas(requires_key=True)) == {401, 403, 429, 503}
    assert build_key_dependencies(requires_key=False, allow_query=True) == ()
    assert len(build_key_dependencies(requires_key=True, allow_query=False)) == 2
    assert len(build_key_dependencies(requires_key=True, allow_query=True)) == 3
