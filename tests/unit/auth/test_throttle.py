from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest

from echoic.auth import throttle
from echoic.auth.throttle import AuthThrottle
from echoic.errors import AccessRefused

ONE, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")
PER_MINUTE = 6


class ManualClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def auth_throttle(clock: ManualClock) -> AuthThrottle:
    return AuthThrottle(PER_MINUTE, clock)


def is_checked(auth_throttle: AuthThrottle, address: object = ONE, key: str = "guess") -> bool:
    try:
        auth_throttle.check_credential(address, key)  # type: ignore[arg-type]  # addresses of any type, or None
    except AccessRefused:
        return False
    return True


def test_too_many_wrong_keys_are_refused_with_retry_after(
    auth_throttle: AuthThrottle, clock: ManualClock
) -> None:
    for _ in range(PER_MINUTE):
        auth_throttle.check_credential(ONE, "guess")
        auth_throttle.record_failure(ONE)
    with pytest.raises(AccessRefused, match="Try again in 10 s") as caught:
        auth_throttle.check_credential(ONE, "another guess")
    assert (caught.value.code, caught.value.detail) == ("server_busy", {"retry_after": 10})
    clock.now += 9.9
    assert not is_checked(auth_throttle)
    clock.now += 0.1
    assert is_checked(auth_throttle)


def test_other_addresses_and_known_good_keys_are_checked(auth_throttle: AuthThrottle) -> None:
    auth_throttle.record_success("the right one")
    for _ in range(10 * PER_MINUTE):
        auth_throttle.record_failure(ONE)
    assert not is_checked(auth_throttle)
    assert is_checked(auth_throttle, OTHER)
    assert is_checked(auth_throttle, key="the right one")


def test_a_flood_blocks_an_address_for_ten_minutes_at_most(
    auth_throttle: AuthThrottle, clock: ManualClock
) -> None:
    for _ in range(10_000):
        auth_throttle.record_failure(ONE)
    clock.now += 9 * 60
    assert not is_checked(auth_throttle)
    clock.now += 60
    assert is_checked(auth_throttle)


def test_an_ipv6_site_counts_as_one_address(auth_throttle: AuthThrottle) -> None:
    for _ in range(PER_MINUTE):
        auth_throttle.record_failure(ip_address("2001:db8::1"))
        auth_throttle.record_failure(None)
    assert not is_checked(auth_throttle, ip_address("2001:db8::ffff:1"))
    assert is_checked(auth_throttle, ip_address("2001:db8:0:1::1"))
    assert not is_checked(auth_throttle, None)


def test_zero_is_no_throttle(clock: ManualClock) -> None:
    free = AuthThrottle(0, clock)
    for _ in range(1000):
        free.record_failure(ONE)
    assert is_checked(free)


def test_the_memory_of_the_throttle_is_bounded(
    auth_throttle: AuthThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "_MAX_ENTRIES", 100)
    for number in range(1000):
        auth_throttle.record_failure(ip_address(number))
        auth_throttle.record_success(f"key {number}")
    assert (len(auth_throttle._failures), len(auth_throttle._known_good)) == (100, 100)  # noqa: SLF001  # its memory


def test_wrong_and_unchecked_credentials_are_counted(clock: ManualClock) -> None:
    counted: Counter[str] = Counter()
    auth_throttle = AuthThrottle(1, clock, lambda outcome: counted.update((outcome,)))
    auth_throttle.record_failure(ONE)
    assert not is_checked(auth_throttle)
    assert counted == {"wrong": 1, "unheard": 1}
