from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.auth.network import AllowedHosts

OWN = [
    "127.0.0.1:8000",
    "localhost",
    "LOCALHOST:8000",
    "[::1]:8000",
    "192.0.2.7",
    "[2001:db8::1]:8000",
    "server",
]
INSIDE = [
    "box.local",
    "echoic.default.svc.cluster.local:8000",
    "app.localhost:1",
    "box.lan",
    "box.home.arpa.",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "evil.example.:8000",
    "localhost.evil.example",
    "127.0.0.1.nip.example",
]
NONSENSE = [
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


@pytest.mark.parametrize("host", OWN + INSIDE)
def test_addresses_and_names_that_only_a_network_knows_are_answered_to(host: str) -> None:
    assert AllowedHosts().is_allowed(host)


@pytest.mark.parametrize("host", FOREIGN + NONSENSE)
def test_names_that_anyone_may_point_here_are_not(host: str) -> None:
    assert not AllowedHosts().is_allowed(host)


def test_names_that_are_listed_are_and_any_where_any_may() -> None:
    assert AllowedHosts(frozenset({"speech.example"})).is_allowed("Speech.Example:443")
    assert not AllowedHosts(frozenset({"speech.example"})).is_allowed("speech.example.evil.example")
    assert AllowedHosts(None).is_allowed("evil.example")


@given(st.text())
def test_whatever_a_host_is_there_is_an_answer(host: str) -> None:
    assert AllowedHosts().is_allowed(host) in (True, False)
