"""A real server's HTTP responses match the schema at ``/openapi.json``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.server_process import ServerProcess

SECONDS = 60


@pytest.mark.parametrize(
    "given", [{}, {"api_key": "right", "metrics_key": "scrape", "status_needs_key": "yes"}]
)
def test_a_real_server_matches_its_schema(given: dict[str, str], tmp_path: Path) -> None:
    with ServerProcess(log_level="warning", **given) as server:
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"http://{server.address}/openapi.json"),
                *("--checks", "all", "--max-examples", "10", "--no-color"),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,  # it writes its findings there
            check=False,
        )
        assert found.returncode == 0, found.stdout[-4000:]
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    events = set(re.findall(r'event=("[^"]*"|\S+)', log))
    assert events <= {'"Invalid HTTP request received."', "request.refused"}
