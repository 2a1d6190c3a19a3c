from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.auth.network import (
    AddressList,
    AllowedHosts,
    AllowedOrigins,
    find_client_address,
    is_loopback_name,
    parse_address,
)

PROXIES = AddressList.from_text("127.0.0.1, 10.0.0.0/8, ::1")
ADDRESSES = [
    "127.0.0.1:8000",
    "localhost",
    "LOCALHOST:8000",
    "[::1]:8000",
    "192.0.2.7",
    "[2001:db8::1]:8000",
    "server",
]
PRIVATE_NAMES = [
    "box.local",
    "echoic.default.svc.cluster.local:8000",
    "app.localhost:1",
    "box.lan",
    "box.home.arpa.",
]
PUBLIC_NAMES = [
    "evil.example",
    "evil.example:8000",
    "evil.example.:8000",
    "localhost.evil.example",
    "127.0.0.1.nip.example",
]
MALFORMED_HOSTS = [
    "",
    ":8000",
    "a b.example",
    "x/y",
    "u@server",
    "[::1",
    "[evil.example]",
    "server:port",
    "a.example?",
]


# ---- addresses


@pytest.mark.parametrize(
    ("listed", "address", "is_in"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("10.0.0.0/8, fd00::/8", "10.255.0.1", True),
        ("10.0.0.0/8, fd00::/8", "fd12::1", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "fd12::1", False),
        ("", "10.0.0.1", False),
    ],
)
def test_an_address_matches_itself_or_its_network(listed: str, address: str, *, is_in: bool) -> None:
    assert (parse_address(address) in AddressList.from_text(listed)) is is_in


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_invalid_items_of_an_address_list_raise(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        AddressList.from_text(f"192.0.2.1, {text}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("unknown", "None"),
        ("", "None"),
        ("_hidden", "None"),
    ],
)
def test_an_address_is_parsed_without_its_port(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["192.0.2.7"], "203.0.113.9"),  # not a trusted proxy: the header is ignored
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),  # the client wrote the first one
        ("127.0.0.1", ["198.51.100.1", "192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["10.2.2.2"], "10.2.2.2"),
        ("127.0.0.1", ["192.0.2.7, garbage"], "None"),
        (None, ["192.0.2.7"], "None"),
    ],
)
def test_the_client_is_the_last_untrusted_address(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert str(find_client_address(peer, forwarded, PROXIES)) == client


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert str(find_client_address("127.0.0.1", ["192.0.2.7"], AddressList())) == "127.0.0.1"


# ---- hosts


@pytest.mark.parametrize("host", ADDRESSES + PRIVATE_NAMES)
def test_addresses_and_private_names_are_allowed_hosts(host: str) -> None:
    assert AllowedHosts().is_allowed(host)


@pytest.mark.parametrize("host", PUBLIC_NAMES + MALFORMED_HOSTS)
def test_public_names_and_malformed_hosts_are_not_allowed(host: str) -> None:
    assert not AllowedHosts().is_allowed(host)


def test_listed_hosts_are_allowed_and_none_allows_any() -> None:
    assert AllowedHosts(frozenset({"speech.example"})).is_allowed("Speech.Example:443")
    assert not AllowedHosts(frozenset({"speech.example"})).is_allowed("speech.example.evil.example")
    assert AllowedHosts(None).is_allowed("evil.example")


@given(st.text())
def test_any_text_is_a_host_or_not(host: str) -> None:
    assert AllowedHosts().is_allowed(host) in (True, False)


@pytest.mark.parametrize(
    ("name", "is_loopback"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("192.0.2.7", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_names_are_recognised(name: str, *, is_loopback: bool) -> None:
    assert is_loopback_name(name) is is_loopback


# ---- origins


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
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
def test_by_default_only_the_same_origin_is_allowed(
    origin: str | None, host: str | None, *, allowed: bool
) -> None:
    assert AllowedOrigins.from_text("").is_allowed(origin, host) is allowed


def test_listed_origins_are_allowed_beside_the_own_one() -> None:
    origins = AllowedOrigins.from_text("https://a.example, HTTP://b.example:8080/, null")
    assert origins.is_allowed("https://a.example", "speech.example")
    assert origins.is_allowed("http://b.example:8080", "speech.example")
    assert origins.is_allowed("null", "speech.example")
    assert origins.is_allowed("https://speech.example", "speech.example")
    assert not origins.is_allowed("http://a.example", "speech.example")


def test_a_star_allows_any_origin() -> None:
    assert AllowedOrigins.from_text("*").is_allowed("https://evil.example", "speech.example")
    assert AllowedOrigins.from_text("*").host_names is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
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
def test_loopback_pages_are_allowed_only_on_request(origin: str, *, allowed: bool) -> None:
    assert AllowedOrigins.from_text("", allow_loopback=True).is_allowed(origin, "127.0.0.1:8000") is allowed
    assert not AllowedOrigins.from_text("").is_allowed(origin, "speech.example")


def test_host_names_are_those_of_the_listed_origins() -> None:
    assert AllowedOrigins.from_text("https://a.example, http://b.example:8080, null").host_names == frozenset(
        {"a.example", "b.example"}
    )


@pytest.mark.parametrize(
    "text", ["a.example", "https://a.example/page", "https://", "ftp:x", "https://*.example"]
)
def test_an_invalid_origin_raises(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        AllowedOrigins.from_text(f"https://b.example, {text}")
