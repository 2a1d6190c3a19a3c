from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest

from echoic.auth import throttle
from echoic.auth.throttle import AuthThrottle
from echoic.errors import AccessRefused

ONE, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")
PER_MINUTE = 6


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def slow(watch: Watch) -> AuthThrottle:
    return AuthThrottle(PER_MINUTE, watch)


def is_heard(slow: AuthThrottle, address: object = ONE, key: str = "guess") -> bool:
    try:
        slow.check_credential(address, key)  # type: ignore[arg-type]  # addresses of all kinds, and none
    except AccessRefused:
        return False
    return True


def test_too_many_wrong_keys_are_refused_with_retry_after(slow: AuthThrottle, watch: Watch) -> None:
    for _ in range(PER_MINUTE):
        slow.check_credential(ONE, "guess")
        slow.record_failure(ONE)
    with pytest.raises(AccessRefused, match="Try again in 10 s") as caught:
        slow.check_credential(ONE, "another guess")
    assert (caught.value.code, caught.value.detail) == ("server_busy", {"retry_after": 10})
    watch.now += 9.9
    assert not is_heard(slow)
    watch.now += 0.1
    assert is_heard(slow)


def test_other_addresses_and_known_good_keys_are_checked(slow: AuthThrottle) -> None:
    slow.record_success("the right one")
    for _ in range(10 * PER_MINUTE):
        slow.record_failure(ONE)
    assert not is_heard(slow)
    assert is_heard(slow, OTHER)
    assert is_heard(slow, key="the right one")


def test_a_flood_blocks_an_address_for_ten_minutes_at_most(slow: AuthThrottle, watch: Watch) -> None:
    for _ in range(10_000):
        slow.record_failure(ONE)
    watch.now += 9 * 60
    assert not is_heard(slow)
    watch.now += 60
    assert is_heard(slow)


def test_an_ipv6_site_counts_as_one_address(slow: AuthThrottle) -> None:
    for _ in range(PER_MINUTE):
        slow.record_failure(ip_address("2001:db8::1"))
        slow.record_failure(None)
    assert not is_heard(slow, ip_address("2001:db8::ffff:1"))
    assert is_heard(slow, ip_address("2001:db8:0:1::1"))
    assert not is_heard(slow, None)


def test_zero_is_no_throttle(watch: Watch) -> None:
    free = AuthThrottle(0, watch)
    for _ in range(1000):
        free.record_failure(ONE)
    assert is_heard(free)


def test_the_memory_of_the_throttle_is_bounded(slow: AuthThrottle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MAX_ENTRIES", 100)
    for number in range(1000):
        slow.record_failure(ip_address(number))
        slow.record_success(f"key {number}")
    assert (len(slow._failures), len(slow._known_good)) == (100, 100)  # noqa: SLF001  # what it holds


def test_wrong_and_unchecked_credentials_are_counted(watch: Watch) -> None:
    counted: Counter[str] = Counter()
    slow = AuthThrottle(1, watch, lambda outcome: counted.update((outcome,)))
    slow.record_failure(ONE)
    assert not is_heard(slow)
    assert counted == {"wrong": 1, "unheard": 1}
