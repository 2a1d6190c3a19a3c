"""Whatever a client asks of the HTTP endpoints, the answer is what the schema at ``/openapi.json`` says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from support.live import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from schemathesis import Case

KEYED = {"api_key": "right", "status_needs_key": True, "metrics_key": "scrape", "wrong_keys_per_minute": 0}
PATHS = ["/api/v1/audio/stream/limits", "/api/v1/audio/stream/status", "/healthz", "/metrics", "/readyz"]
SECONDS = 60


@pytest.mark.parametrize("given_settings", [{}, KEYED])
def test_the_application_answers_as_its_schema_says(given_settings: dict[str, object]) -> None:
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
    "asks", [{}, {"api_key": "right", "metrics_key": "scrape", "status_needs_key": "yes"}]
)
def test_a_real_server_answers_as_its_schema_says(asks: dict[str, str], tmp_path: Path) -> None:
    with ServerProcess(log_level="warning", **asks) as server:
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"http://{server.address}/openapi.json"),
                *("--checks", "all", "--max-examples", "20", "--no-color"),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,  # where it keeps what it finds
            check=False,
        )
        assert found.returncode == 0, found.stdout[-4000:]
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    events = set(re.findall(r'event=("[^"]*"|\S+)', log))
    assert events <= {'"Invalid HTTP request received."', "request.refused"}
