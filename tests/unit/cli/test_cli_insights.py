from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from echoic.cli.program import app

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LLM = "[Insights]\nprovider = llm\nbase_url = http://127.0.0.1:9/v1\nmodel = small\napi_key = s3cret\n"


def check(tmp_path: Path, settings: str) -> dict[str, str | None]:
    file = tmp_path / "echoic.ini"
    file.write_text(settings, "utf-8")
    done = CliRunner().invoke(app, ["doctor", "--json", "--port", "0"], env={"ECHOIC_CONFIG": str(file)})
    assert "s3cret" not in done.stdout
    (found,) = (one for one in json.loads(done.stdout)["checks"] if one["name"] == "insights")
    return dict(found)


def test_doctor_says_who_makes_insights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(tmp_path, "")["found"] == "by rules: extractive"
    nobody = check(tmp_path, LLM)
    assert (nobody["state"], str(nobody["found"]).split(",")[0]) == (
        "note",
        "nobody listens at http://127.0.0.1:9/v1",
    )
    with socket.create_server(("127.0.0.1", 0)) as there:
        place = f"127.0.0.1:{there.getsockname()[1]}"
        found = check(tmp_path, LLM.replace("127.0.0.1:9", place))
    assert (found["state"], found["found"]) == ("ok", f"by llm: small at http://{place}/v1")
    assert check(tmp_path, "[Insights]\nprovider = off\n")["state"] == "note"
    monkeypatch.setitem(sys.modules, "openai", None)
    assert check(tmp_path, LLM)["fix"] == "pip install 'echoic[insights]'"
