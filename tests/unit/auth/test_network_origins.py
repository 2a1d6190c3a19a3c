from __future__ import annotations

import pytest

from echoic.auth.network import AllowedOrigins


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        (None, "speech.example", True),
        ("https://speech.example", "speech.example", True),
        ("https://speech.example", "speech.example:443", True),
        ("https://SPEECH.example:443", "speech.example", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://evil.example", "speech.example", False),
        ("https://speech.example.evil.example", "speech.example", False),
        ("https://speech.example:8443", "speech.example", False),
        ("http://speech.example", "speech.example:443", False),
        ("https://speech.example", None, False),
        ("null", "speech.example", False),
        ("file://", "speech.example", False),
        ("", "speech.example", False),
        ("https://speech.example@evil.example", "speech.example", False),
        ("https://evil.example/speech.example", "speech.example", False),
        ("https://a:b", "speech.example", False),
    ],
)
def test_only_our_own_pages_may(origin: str | None, host: str | None, *, may: bool) -> None:
    assert AllowedOrigins.from_text("").is_allowed(origin, host) is may


def test_listed_pages_may_beside_our_own() -> None:
    origins = AllowedOrigins.from_text("https://a.example, HTTP://b.example:8080/, null")
    assert origins.is_allowed("https://a.example", "speech.example")
    assert origins.is_allowed("http://b.example:8080", "speech.example")
    assert origins.is_allowed("null", "speech.example")
    assert origins.is_allowed("https://speech.example", "speech.example")
    assert not origins.is_allowed("http://a.example", "speech.example")


def test_a_star_stands_for_any_page() -> None:
    assert AllowedOrigins.from_text("*").is_allowed("https://evil.example", "speech.example")
    assert AllowedOrigins.from_text("*").host_names is None


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://localhost:3000", True),
        ("https://app.localhost", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:8080", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://192.0.2.7", False),
        ("null", False),
        ("https://evil.example", False),
    ],
)
def test_pages_of_the_users_own_machine_may_where_that_is_said(origin: str, *, may: bool) -> None:
    assert AllowedOrigins.from_text("", allow_loopback=True).is_allowed(origin, "127.0.0.1:8000") is may
    assert not AllowedOrigins.from_text("").is_allowed(origin, "speech.example")


def test_the_names_in_a_list_are_known() -> None:
    assert AllowedOrigins.from_text("https://a.example, http://b.example:8080, null").host_names == frozenset(
        {"a.example", "b.example"}
    )


@pytest.mark.parametrize(
    "text", ["a.example", "https://a.example/page", "https://", "ftp:x", "https://*.example"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        AllowedOrigins.from_text(f"https://b.example, {text}")
