from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echoic.auth.keys import parse_key_digest
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.server.app import build_engine_settings
from echoic.server.settings.groups import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "echoic.ini"
        file.write_text(text, "utf-8")
        return file

    return write


def problems_of(
    file: Path | None = None, env: dict[str, str] | None = None, **overrides: object
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(file, env or {}, **overrides)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return list(caught.value.problems)


def test_without_anything_the_defaults_hold_and_only_this_machine_is_served() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.api_key) == ("127.0.0.1", 8000, None)


def test_what_is_given_wins_over_the_environment_which_wins_over_the_file(
    written: Callable[[str], Path],
) -> None:
    file = written("[Server]\nport = 1\nmax_sessions = 2\nidle_timeout_seconds = 3.5\n")
    settings = load_settings(file, {"ECHOIC_PORT": "10", "ECHOIC_MAX_SESSIONS": "20"}, port=100, host=None)
    assert (settings.port, settings.max_sessions, settings.idle_timeout_seconds) == (100, 20, 3.5)
    assert settings.host == "127.0.0.1"


def test_every_section_of_the_file_is_read(written: Callable[[str], Path]) -> None:
    file = written(
        "[Server]\nallow_open_network = yes\n[Auth]\napi_key = s3cret # no comment\nallow_query_token = no\n"
        "[STT-Settings]\nstreaming_fallback = off\n[Audio-Quota]\nstream_ttl_seconds = 60\n"
    )
    settings = load_settings(file, {})
    assert settings.allow_open_network
    assert settings.api_key == parse_key_digest("s3cret # no comment")
    assert not settings.allow_query_token
    assert not settings.streaming_fallback
    assert settings.stream_ttl_seconds == 60


def test_all_problems_are_told_at_once_with_the_nearest_known_name(written: Callable[[str], Path]) -> None:
    file = written("[Server]\nprot = 1\nmax_sessions = many\n[Serve]\nport = 1\n")
    told = problems_of(file, {"ECHOIC_PROT": "1", "ECHOIC_PORT": "70000"}, idle_timeout=3)
    assert len(told) == 6
    assert "[Server] prot is not a setting. Did you mean port?" in told
    assert "[Serve] is not a setting. Did you mean Server?" in told
    assert "ECHOIC_PROT is not a setting. Did you mean ECHOIC_PORT?" in told
    assert "idle_timeout is not a setting. Did you mean idle_timeout_seconds?" in told
    assert any(line.startswith("[Server] max_sessions: ") for line in told)
    assert any(line.startswith("ECHOIC_PORT: ") and "65535" in line for line in told)


def test_a_setting_of_another_section_is_told_where_it_belongs(written: Callable[[str], Path]) -> None:
    told = problems_of(
        written("[STT-Settings]\nport = 1\nspeakers_model = x\n[Auth]\nfree_daily_minutes = 1\n")
    )
    assert told == [
        "[STT-Settings] port is not a setting here. It belongs under [Server].",
        "[STT-Settings] speakers_model is not a setting here. It belongs under [Speakers].",
        "[Auth] free_daily_minutes is not a setting here. It belongs under [Audio-Quota].",
    ]


@pytest.mark.parametrize("text", ["no section", "[Server]\nport = 1\nport = 2\n", "[Server\n"])
def test_a_file_that_is_no_ini_file_is_one_problem(written: Callable[[str], Path], text: str) -> None:
    assert len(problems_of(written(text))) == 1


def test_a_file_that_is_not_there_is_a_problem_that_names_it(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path / "missing.ini")
    assert "missing.ini" in told


def test_an_empty_variable_and_those_of_other_programs_count_as_not_set() -> None:
    env = {"ECHOIC_API_KEY": "", "PATH": "/bin", "ECHOIC_CONFIG": "x.ini"}
    assert load_settings(None, env) == Settings()


def test_the_key_itself_is_not_kept() -> None:
    settings = load_settings(None, {"ECHOIC_API_KEY": "s3cret"})
    assert settings.api_key == parse_key_digest("s3cret")
    assert "s3cret" not in repr(settings) + str(settings.model_dump())
    assert "api_key" not in repr(settings)


def test_a_key_may_be_given_as_its_digest() -> None:
    digest = parse_key_digest("s3cret")
    assert load_settings(None, {"ECHOIC_API_KEY": f"sha256:{digest.hex()}"}).api_key == digest
    (told,) = problems_of(None, {"ECHOIC_API_KEY": "sha256:0123"})
    assert "64 hexadecimal digits" in told
    assert "0123" not in told


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104  # refused
def test_without_a_key_only_loopback_is_served_unless_told_by_name(host: str) -> None:
    (told,) = problems_of(host=host)
    assert "allow_open_network" in told
    assert load_settings(None, {}, host=host, allow_open_network=True).host == host
    assert load_settings(None, {"ECHOIC_API_KEY": "k"}, host=host).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load_settings(None, {}, host=host).host == host


def test_the_endpoint_without_keys_is_not_served_where_keys_are_asked_for() -> None:
    assert load_settings(None, {}).should_serve_core
    assert not load_settings(None, {"ECHOIC_API_KEY": "k"}).should_serve_core
    assert load_settings(None, {}, host="::", allow_open_network=True).should_serve_core
    guarded = {"ECHOIC_API_KEY": "k", "ECHOIC_HOST": "::"}
    assert not load_settings(None, guarded).should_serve_core
    assert load_settings(None, guarded | {"ECHOIC_CORE_ENDPOINT": "yes"}).should_serve_core


@pytest.mark.parametrize(("given", "held"), [("1", 30), ("-5", 30), ("90", 90), ("99999", 3600)])
def test_the_lease_time_is_clamped_and_its_variable_wins_over_the_file(
    written: Callable[[str], Path], given: str, held: int
) -> None:
    file = written("[Audio-Quota]\nstream_ttl_seconds = 500\n")
    assert load_settings(file, {"AUDIO_STREAM_TTL_SECONDS": given}).stream_ttl_seconds == held
    assert load_settings(file, {}).stream_ttl_seconds == 500


def test_a_lease_time_that_is_no_number_is_an_error_that_names_it() -> None:
    (told,) = problems_of(None, {"AUDIO_STREAM_TTL_SECONDS": "soon"})
    assert told.startswith("AUDIO_STREAM_TTL_SECONDS: ")


def test_folders_of_models_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    env = {"ECHOIC_PARAKEET_ONNX_DIR": "~/parakeet", "ECHOIC_MODELS_DIR": "/models"}
    settings = load_settings(None, env)
    assert settings.parakeet_onnx_dir == tmp_path / "parakeet"
    assert settings.models_dir == Path("/models")
    assert load_settings(None, {}).models_dir is None


def test_what_models_are_to_do_reaches_their_table(written: Callable[[str], Path]) -> None:
    file = written(
        "[STT-Settings]\nparakeet_left_context = 2\nparakeet_right_context = 0.5\nparakeet_lanes = 4\n"
        "decode_cores = 3\nparakeet_quantization = none\nonnx_provider = cuda\ndevice = cpu\n"
        "model_idle_seconds = 600\nwhisper_model = small\n"
    )
    settings = load_settings(file, {"ECHOIC_PARAKEET_NEMO_FILE": "~/x.nemo", "ECHOIC_WORKER_THREADS": "5"})
    assert settings.parakeet_quantization == ""
    assert settings.parakeet_nemo_file == Path.home() / "x.nemo"
    wishes = build_engine_settings(settings)
    tuning = wishes.parakeet_options
    assert (tuning.left_context, tuning.right_context) == (2.0, 0.5)
    assert (tuning.max_batch_size, tuning.max_concurrency, wishes.cores) == (4, 5, 3)
    assert (wishes.onnx_provider, wishes.device, wishes.whisper_model) == ("cuda", "cpu", "small")
    assert build_engine_settings(Settings()).parakeet_options == ParakeetOptions()


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
    ],
)
def test_a_value_that_no_engine_can_use_is_told_by_the_name_of_its_setting(name: str, value: str) -> None:
    (problem,) = problems_of(env={f"ECHOIC_{name.upper()}": value})
    assert problem.startswith(f"ECHOIC_{name.upper()}: ")


def test_limits_of_tiers_come_from_the_environment_before_lines_of_the_file(
    written: Callable[[str], Path],
) -> None:
    file = written(
        "[Audio-Quota]\nfree_daily_minutes = 45\nfree_concurrent_streams = 2\n"
        "team_daily_minutes = unlimited\nfailopen_cap_minutes = 2.5\n"
    )
    assert load_settings(file, {}).tier_limits == {
        "free": {"daily_minutes": 45, "concurrent_streams": 2},
        "team": {"daily_minutes": None},
    }
    env = {"AUDIO_TIER_LIMITS_JSON": '{"free": {"daily_minutes": null}, "gold": {"concurrent_streams": 9}}'}
    settings = load_settings(file, env)
    assert settings.failopen_cap_minutes == 2.5
    assert settings.tier_limits == {
        "free": {"daily_minutes": None, "concurrent_streams": 2},
        "team": {"daily_minutes": None},
        "gold": {"concurrent_streams": 9},
    }


def test_limits_that_cannot_be_used_are_told_by_name(written: Callable[[str], Path]) -> None:
    file = written("[Audio-Quota]\nfree_daily_minutes = lots\n[Server]\nfree_daily_minutes = 1\n")
    told = problems_of(file)
    assert any(line.startswith("[Audio-Quota] free_daily_minutes: ") for line in told)
    assert any(line.startswith("[Server] free_daily_minutes is not a setting") for line in told)
    (told_of_json,) = problems_of(env={"AUDIO_TIER_LIMITS_JSON": '{"free": {"minutes": 1}}'})
    assert told_of_json.startswith("AUDIO_TIER_LIMITS_JSON: ")
    assert "'minutes' of 'free'" in told_of_json


def test_the_address_of_redis_is_checked_and_not_shown() -> None:
    settings = load_settings(None, {"REDIS_URL": "redis://:s3cret@localhost:6379/0"})
    assert settings.redis_url == "redis://:s3cret@localhost:6379/0"
    assert "s3cret" not in repr(settings)
    (told,) = problems_of(env={"REDIS_URL": "http://:s3cret@localhost"})
    assert told.startswith("REDIS_URL: ")
    assert "s3cret" not in told


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e300", "604801"])
@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if field.annotation is float]
)
def test_a_number_that_no_clock_or_count_can_hold_is_refused(name: str, value: str) -> None:
    if name == "wrong_keys_per_minute" and value == "604801":
        return
    with pytest.raises(SettingsError):
        load_settings(None, {f"ECHOIC_{name.upper()}": value})


def test_settings_of_insights_may_leave_out_their_prefix_in_the_file(written: Callable[[str], Path]) -> None:
    text = "base_url = http://127.0.0.1:11434/v1\nmodel = small\nmodels = a, b\napi_key = s3cret\n"
    file = written(f"[Insights]\nprovider = llm\ninsights_timeout_seconds = 60\n{text}")
    settings = load_settings(file, {"ECHOIC_INSIGHTS_INTERVAL_SECONDS": "120"})
    plan = settings.insight_settings
    assert (plan.provider, plan.model, plan.models, plan.timeout) == ("llm", "small", ("a", "b"), 60)
    assert (plan.interval, plan.window_segments, plan.api_key) == (120, 6, "s3cret")
    assert "s3cret" not in f"{settings!r} {settings.model_dump()} {plan!r}"


def test_a_language_model_needs_an_address_and_a_name(written: Callable[[str], Path]) -> None:
    (told,) = problems_of(None, {"ECHOIC_INSIGHTS_PROVIDER": "llm"})
    assert "base_url" in told
    (told,) = problems_of(written("[Insights]\nbase_url = 127.0.0.1:11434\n"))
    assert told.startswith("[Insights] base_url: ")
    (told,) = problems_of(written("[Insights]\nintervall_seconds = 3\n"))
    assert "Did you mean interval_seconds?" in told


def test_what_does_not_go_together_is_told_beside_what_cannot_be_used() -> None:
    env = {"ECHOIC_PORT": "abc", "ECHOIC_JWT_SECRET": "short", "ECHOIC_TLS_KEY_FILE": "key.pem"}
    port, tokens, tls = problems_of(env=env)
    assert port.startswith("ECHOIC_PORT:")
    assert tokens.startswith("[Auth]")
    assert tls == "[Server] tls_key_file is set, but no tls_cert_file."


def test_what_cannot_be_used_does_not_count_as_not_set(tmp_path: Path) -> None:
    env = {"ECHOIC_HOST": "::", "ECHOIC_JWT_PUBLIC_KEY_FILE": str(tmp_path / "none.pem")}
    assert [problem.split(":")[0] for problem in problems_of(env=env)] == ["ECHOIC_JWT_PUBLIC_KEY_FILE"]


def test_the_rest_can_be_used() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"ECHOIC_PORT": "abc", "ECHOIC_HOST": "localhost"})
    assert (caught.value.usable_settings.port, caught.value.usable_settings.host) == (8000, "localhost")
