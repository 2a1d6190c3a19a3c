from __future__ import annotations

import pytest

from echoic.auth.network import AddressList, find_client_address, parse_address

PROXIES = AddressList.from_text("127.0.0.1, 10.0.0.0/8, ::1")


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
def test_an_address_is_in_a_list_exactly_or_by_its_network(listed: str, address: str, *, is_in: bool) -> None:
    assert (parse_address(address) in AddressList.from_text(listed)) is is_in


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/33", "10.0.0.0-10.0.0.9"])
def test_what_is_neither_an_address_nor_a_network_is_refused(text: str) -> None:
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
def test_an_address_is_read_without_its_port(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["192.0.2.7"], "203.0.113.9"),  # no proxy of ours: what it says does not count
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),  # the first was written by the client
        ("127.0.0.1", ["198.51.100.1", "192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["10.2.2.2"], "10.2.2.2"),
        ("127.0.0.1", ["192.0.2.7, garbage"], "None"),
        (None, ["192.0.2.7"], "None"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert str(find_client_address(peer, forwarded, PROXIES)) == client


def test_without_trusted_proxies_the_header_does_not_count() -> None:
    assert str(find_client_address("127.0.0.1", ["192.0.2.7"], AddressList())) == "127.0.0.1"
