from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoic.auth.keys import parse_key_digest
from echoic.server.settings.groups import SETTINGS, Settings
from echoic.server.settings.load import SettingsError, load_settings


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "echoic.ini"
        file.write_text(text, "utf-8")
        return file

    return write


def find_problems(
    file: Path | None = None, env: dict[str, str] | None = None, **overrides: object
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(file, env or {}, **overrides)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return list(caught.value.problems)


def test_defaults_listen_on_loopback_without_a_key() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8000)
    assert settings.auth.api_key is None


def test_arguments_override_environment_and_file(write_file: Callable[[str], Path]) -> None:
    file = write_file("[Server]\nport = 1\nmax_sessions = 2\nidle_timeout_seconds = 3.5\n")
    env = {"ECHOIC_PORT": "10", "ECHOIC_MAX_SESSIONS": "20"}
    server = load_settings(file, env, port=100, host=None).server
    assert (server.port, server.max_sessions, server.idle_timeout_seconds) == (100, 20, 3.5)
    assert server.host == "127.0.0.1"


def test_every_section_of_the_file_is_read(write_file: Callable[[str], Path]) -> None:
    file = write_file(
        "[Server]\nallow_open_network = yes\n[Auth]\napi_key = s3cret # no comment\nallow_query_token = no\n"
        "[STT-Settings]\nstreaming_fallback = off\n[Audio-Quota]\nstream_ttl_seconds = 60\n"
        "[Speakers]\naudio_days = 3\n[Insights]\nparallel = 2\n"
    )
    settings = load_settings(file, {})
    assert settings.server.allow_open_network
    assert settings.auth.api_key == parse_key_digest("s3cret # no comment")
    assert not settings.auth.allow_query_token
    assert not settings.stt.streaming_fallback
    assert settings.quota.stream_ttl_seconds == 60
    assert settings.speakers.audio_days == 3
    assert settings.insights.parallel == 2


def test_all_problems_are_reported_with_the_nearest_name(write_file: Callable[[str], Path]) -> None:
    file = write_file("[Server]\nprot = 1\nmax_sessions = many\n[Serve]\nport = 1\n")
    problems = find_problems(file, {"ECHOIC_PROT": "1", "ECHOIC_PORT": "70000"}, idle_timeout=3)
    assert len(problems) == 6
    assert "[Server] prot is not a setting. Did you mean port?" in problems
    assert "[Serve] is not a setting. Did you mean Server?" in problems
    assert "ECHOIC_PROT is not a setting. Did you mean ECHOIC_PORT?" in problems
    assert "idle_timeout is not a setting. Did you mean idle_timeout_seconds?" in problems
    assert any(line.startswith("[Server] max_sessions: ") for line in problems)
    assert any(line.startswith("ECHOIC_PORT: ") and "65535" in line for line in problems)


def test_conflicts_are_reported_with_invalid_values() -> None:
    env = {"ECHOIC_PORT": "abc", "ECHOIC_JWT_SECRET": "short", "ECHOIC_TLS_KEY_FILE": "key.pem"}
    port, tokens, tls = find_problems(env=env)
    assert port.startswith("ECHOIC_PORT:")
    assert tokens.startswith("[Auth]")
    assert tls == "[Server] tls_key_file is set, but no tls_cert_file."


def test_an_invalid_credential_counts_as_set(tmp_path: Path) -> None:
    env = {"ECHOIC_HOST": "::", "ECHOIC_JWT_PUBLIC_KEY_FILE": str(tmp_path / "none.pem")}
    assert [problem.split(":")[0] for problem in find_problems(env=env)] == ["ECHOIC_JWT_PUBLIC_KEY_FILE"]


def test_the_error_carries_the_usable_settings() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"ECHOIC_PORT": "abc", "ECHOIC_HOST": "localhost"})
    server = caught.value.usable_settings.server
    assert (server.port, server.host) == (8000, "localhost")


def test_a_misplaced_setting_is_reported_with_its_section(write_file: Callable[[str], Path]) -> None:
    file = write_file("[STT-Settings]\nport = 1\nspeakers_model = x\n[Auth]\nfree_daily_minutes = 1\n")
    assert find_problems(file) == [
        "[STT-Settings] port is not a setting here. It belongs under [Server].",
        "[STT-Settings] speakers_model is not a setting here. It belongs under [Speakers].",
        "[Auth] free_daily_minutes is not a setting here. It belongs under [Audio-Quota].",
    ]


@pytest.mark.parametrize("text", ["no section", "[Server]\nport = 1\nport = 2\n", "[Server\n"])
def test_a_file_that_is_not_ini_is_one_problem(write_file: Callable[[str], Path], text: str) -> None:
    assert len(find_problems(write_file(text))) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (problem,) = find_problems(tmp_path / "missing.ini")
    assert "missing.ini" in problem


def test_empty_and_foreign_variables_are_ignored() -> None:
    env = {"ECHOIC_API_KEY": "", "PATH": "/bin", "ECHOIC_CONFIG": "x.ini"}
    assert load_settings(None, env) == Settings()


def test_a_prefixed_variable_of_the_protocol_overrides_the_file(write_file: Callable[[str], Path]) -> None:
    file = write_file("[Audio-Quota]\nstream_ttl_seconds = 500\n")
    assert load_settings(file, {}).quota.stream_ttl_seconds == 500
    assert load_settings(file, {"AUDIO_STREAM_TTL_SECONDS": "90"}).quota.stream_ttl_seconds == 90
    assert load_settings(file, {"ECHOIC_STREAM_TTL_SECONDS": "80"}).quota.stream_ttl_seconds == 80
    (problem,) = find_problems(env={"AUDIO_STREAM_TTL_SECONDS": "soon"})
    assert problem.startswith("AUDIO_STREAM_TTL_SECONDS: ")


def test_the_environment_overrides_tier_lines_of_the_file(write_file: Callable[[str], Path]) -> None:
    file = write_file(
        "[Audio-Quota]\nfree_daily_minutes = 45\nfree_concurrent_streams = 2\n"
        "team_daily_minutes = unlimited\nfailopen_cap_minutes = 2.5\n"
    )
    assert load_settings(file, {}).quota.tier_limits == {
        "free": {"daily_minutes": 45, "concurrent_streams": 2},
        "team": {"daily_minutes": None},
    }
    env = {"AUDIO_TIER_LIMITS_JSON": '{"free": {"daily_minutes": null}, "gold": {"concurrent_streams": 9}}'}
    quota = load_settings(file, env).quota
    assert quota.failopen_cap_minutes == 2.5
    assert quota.tier_limits == {
        "free": {"daily_minutes": None, "concurrent_streams": 2},
        "team": {"daily_minutes": None},
        "gold": {"concurrent_streams": 9},
    }


def test_invalid_tier_limits_are_named(write_file: Callable[[str], Path]) -> None:
    file = write_file("[Audio-Quota]\nfree_daily_minutes = lots\n[Server]\nfree_daily_minutes = 1\n")
    problems = find_problems(file)
    assert any(line.startswith("[Audio-Quota] free_daily_minutes: ") for line in problems)
    assert any(line.startswith("[Server] free_daily_minutes is not a setting") for line in problems)
    (problem,) = find_problems(env={"AUDIO_TIER_LIMITS_JSON": '{"free": {"minutes": 1}}'})
    assert problem.startswith("AUDIO_TIER_LIMITS_JSON: ")
    assert "'minutes' of 'free'" in problem


def test_the_file_may_leave_out_a_section_prefix(write_file: Callable[[str], Path]) -> None:
    text = "base_url = http://127.0.0.1:11434/v1\nmodel = small\nmodels = a, b\napi_key = s3cret\n"
    file = write_file(f"[Insights]\nprovider = llm\ninsights_timeout_seconds = 60\n{text}")
    settings = load_settings(file, {"ECHOIC_INSIGHTS_INTERVAL_SECONDS": "120"})
    insights = settings.insights
    assert (insights.provider, insights.model, insights.models) == ("llm", "small", ("a", "b"))
    assert (insights.interval_seconds, insights.timeout_seconds, insights.window_segments) == (120, 60, 6)
    assert insights.api_key is not None
    assert insights.api_key.get_secret_value() == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings.model_dump()}"
    (problem,) = find_problems(write_file("[Insights]\nintervall_seconds = 3\n"))
    assert "Did you mean interval_seconds?" in problem
    (problem,) = find_problems(write_file("[Insights]\nbase_url = 127.0.0.1:11434\n"))
    assert problem.startswith("[Insights] base_url: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parakeet_left_context", "0"),
        ("parakeet_right_context", "-1"),
        ("parakeet_right_context", "soon"),
        ("parakeet_lanes", "0"),
        ("decode_cores", "1.5"),
        ("parakeet_quantization", "../int8"),
        ("onnx_provider", "gpu"),
        ("device", "npu"),
        ("model_idle_seconds", "-1"),
        ("allowed_addresses", "10.0.0.0/40"),
        ("allowed_origins", "https://a.example/path"),
        ("speakers_diarizer", "unknown"),
    ],
)
def test_an_invalid_value_is_reported_by_its_variable(name: str, value: str) -> None:
    (problem,) = find_problems(env={f"ECHOIC_{name.upper()}": value})
    assert problem.startswith(f"ECHOIC_{name.upper()}: ")


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e300", "604801"])
@pytest.mark.parametrize("name", [name for name, one in SETTINGS.items() if one.info.annotation is float])
def test_a_number_out_of_range_is_rejected(name: str, value: str) -> None:
    if name == "wrong_keys_per_minute" and value == "604801":
        return
    with pytest.raises(SettingsError):
        load_settings(None, {f"ECHOIC_{name.upper()}": value})


def test_an_unusable_vocabulary_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"a=b\nsecret\n")
    (problem,) = find_problems(env={"ECHOIC_CUSTOM_VOCAB_REPLACEMENTS_FILE": str(file)})
    assert problem.startswith(f"ECHOIC_CUSTOM_VOCAB_REPLACEMENTS_FILE: {file}")
    assert "secret" not in problem


def test_a_secret_is_not_part_of_its_problem() -> None:
    (problem,) = find_problems(env={"REDIS_URL": "http://:s3cret@localhost"})
    assert problem.startswith("REDIS_URL: ")
    assert "s3cret" not in problem
    (problem,) = find_problems(env={"ECHOIC_API_KEY": "sha256:0123"})
    assert "64 hexadecimal digits" in problem
    assert "0123" not in problem
