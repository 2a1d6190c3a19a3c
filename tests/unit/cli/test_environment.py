from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer

from echoic.cli.environment import (
    build_local_registry,
    load_settings_or_exit,
    load_usable_settings,
    resolve_models_folder,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_network_address_without_a_key_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOIC_HOST", "0.0.0.0")  # noqa: S104  # nothing listens
    assert load_settings_or_exit().server.host == "0.0.0.0"  # noqa: S104


def test_invalid_settings_end_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECHOIC_LOG_LEVEL", "loud")
    with pytest.raises(typer.Exit) as ended:
        load_settings_or_exit()
    assert ended.value.exit_code == 2
    assert "ECHOIC_LOG_LEVEL" in capsys.readouterr().err


def test_valid_settings_are_used_beside_invalid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOIC_LOG_LEVEL", "loud")
    settings, problems = load_usable_settings(host=None, port=4321)
    assert settings.server.port == 4321
    assert ["ECHOIC_LOG_LEVEL" in problem for problem in problems] == [True]


def test_the_settings_name_the_models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ECHOIC_MODELS_DIR", str(tmp_path))
    assert resolve_models_folder() == tmp_path
    assert "parakeet-onnx" in {row.id for row in build_local_registry().describe_models()}
