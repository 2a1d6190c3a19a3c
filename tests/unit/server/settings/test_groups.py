from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from echoic.auth.keys import parse_key_digest
from echoic.server.settings.groups import SECTIONS, SETTINGS, Settings
from echoic.text.vocabulary import PROMPT_TEMPLATE


def read(**settings: object) -> Settings:
    return Settings.model_validate(settings)


def test_flat_names_are_sorted_into_groups() -> None:
    settings = read(port=1, speakers_diarizer="off", insights_provider="off", preload_model="")
    assert (settings.server.port, settings.stt.preload_model) == (1, "")
    assert (settings.speakers.diarizer, settings.insights.provider) == ("off", "off")
    assert settings.stt.model_fields_set == {"preload_model"}


def test_an_unknown_name_is_rejected() -> None:
    with pytest.raises(ValidationError, match="prot"):
        read(prot=1)


def test_every_setting_has_a_unique_name_and_a_description() -> None:
    fields = [(group, field) for group, one in SECTIONS.items() for field in one.model.model_fields]
    assert [(one.group, one.field) for one in SETTINGS.values()] == fields
    assert all(one.info.description for one in SETTINGS.values())
    variables = [variable for one in SETTINGS.values() for variable in one.env_names]
    assert len(set(variables)) == len(variables)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().server.port = 1


def test_only_the_digest_of_a_key_is_kept() -> None:
    settings = read(api_key="s3cret", metrics_key="s3cret")
    assert settings.auth.api_key == settings.auth.metrics_key == parse_key_digest("s3cret")
    assert "s3cret" not in repr(settings) + str(settings.model_dump())
    assert "api_key" not in repr(settings.auth)


def test_a_key_may_be_given_as_its_digest() -> None:
    digest = parse_key_digest("s3cret")
    assert read(api_key=f"sha256:{digest.hex()}").auth.api_key == digest


def test_credentials_in_urls_are_not_shown() -> None:
    settings = read(redis_url="redis://:s3cret@localhost:6379/0")
    assert settings.quota.redis_url == "redis://:s3cret@localhost:6379/0"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("given", ["api_key", "keys_db", "jwt_secret"])
def test_any_credential_requires_a_key(given: str) -> None:
    assert not Settings().auth.is_key_required
    assert read(**{given: "k"}).auth.is_key_required


def test_the_core_endpoint_is_served_only_without_keys() -> None:
    assert Settings().is_core_served
    assert read(host="::", allow_open_network=True).is_core_served
    assert not read(api_key="k").is_core_served
    assert read(api_key="k", core_endpoint=True).is_core_served
    assert not read(core_endpoint=False).is_core_served


def test_the_quota_store_is_required_if_nothing_is_lent() -> None:
    assert not Settings().quota.is_store_required
    assert read(failopen_cap_minutes=0).quota.is_store_required
    assert not read(failopen_cap_minutes=0, ready_needs_quotas=False).quota.is_store_required
    assert read(ready_needs_quotas=True).quota.is_store_required


def test_paths_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    settings = read(
        parakeet_onnx_dir="~/parakeet",
        models_dir="/models",
        tls_cert_file="~/c.pem",
        speakers_audio_dir="~/a",
    )
    assert settings.stt.parakeet_onnx_dir == tmp_path / "parakeet"
    assert settings.stt.models_dir == Path("/models")
    assert settings.server.tls_cert_file == tmp_path / "c.pem"
    assert settings.speakers.audio_dir == tmp_path / "a"


def test_an_empty_prompt_template_means_the_default() -> None:
    assert read(custom_vocab_prompt_template=" ").stt.custom_vocab_prompt_template == PROMPT_TEMPLATE


def test_the_vocabulary_policy_follows_the_settings() -> None:
    policy = read(
        custom_vocab_initial_prompt_enable=False, custom_vocab_case_sensitive=True
    ).stt.vocabulary_policy
    assert (policy.template, policy.replaces, policy.case_sensitive) == (None, True, True)
