from __future__ import annotations

import pytest

from echoic.limits.origins import Origins


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
    assert Origins.parse("").admit(origin, host) is may


def test_listed_pages_may_beside_our_own() -> None:
    origins = Origins.parse("https://a.example, HTTP://b.example:8080/, null")
    assert origins.admit("https://a.example", "speech.example")
    assert origins.admit("http://b.example:8080", "speech.example")
    assert origins.admit("null", "speech.example")
    assert origins.admit("https://speech.example", "speech.example")
    assert not origins.admit("http://a.example", "speech.example")


def test_a_star_stands_for_any_page() -> None:
    assert Origins.parse("*").admit("https://evil.example", "speech.example")
    assert Origins().admit("https://evil.example", "speech.example")


@pytest.mark.parametrize("text", ["a.example", "https://a.example/page", "https://", "ftp:x"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        Origins.parse(f"https://b.example, {text}")
