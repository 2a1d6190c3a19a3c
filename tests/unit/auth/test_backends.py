from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from echoic.auth import backends
from echoic.auth.backends import USE_RECORD_INTERVAL, KeyStoreBackend, SingleKeyBackend
from echoic.auth.identity import Identity
from echoic.auth.key_store import ApiKey, KeyStoreUnavailable
from echoic.auth.keys import NO_DIGEST, NO_KEY_ID, GeneratedKey, compute_digest, generate_key
from echoic.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class RecordingKeyStore:
    """A store of keys in memory that remembers what it was lookups."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {key.id: key for key in keys}
        self.lookups: list[str] = []
        self.uses: list[str] = []
        self.is_unavailable = False
        self.can_write = asyncio.Event()
        self.can_write.set()

    async def find_key(self, key_id: str) -> ApiKey | None:
        self.lookups.append(key_id)
        if self.is_unavailable:
            raise KeyStoreUnavailable
        return self.keys.get(key_id)

    async def find_keys(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        return {name: self.keys[name] for name in key_ids if name in self.keys}

    async def record_use(self, key_id: str, used_at: datetime) -> None:  # noqa: ARG002  # the protocol's signature
        await self.can_write.wait()
        if self.is_unavailable:
            raise KeyStoreUnavailable
        self.uses.append(key_id)


def make_key(expires: datetime | None = None, revoked: datetime | None = None) -> tuple[GeneratedKey, ApiKey]:
    new = generate_key()
    return new, ApiKey(
        new.id, compute_digest(new.text), "anna", "free", NOW, expires=expires, revoked=revoked
    )


async def test_the_single_key_is_the_default_premium_user() -> None:
    backend = SingleKeyBackend(compute_digest("right"))
    assert await backend.identify_user("right") == Identity("default", "premium")
    assert await backend.identify_user("wrong") is None
    assert compute_digest("right").hex() not in repr(backend)


async def test_a_stored_key_is_its_user() -> None:
    new, key = make_key(expires=NOW + HOUR)
    assert await KeyStoreBackend(RecordingKeyStore(key)).identify_user(new.text) == Identity(
        "anna", "free", new.id
    )


@pytest.mark.parametrize(
    ("moment", "reason"), [({"expires": NOW - HOUR}, "expired"), ({"revoked": NOW - HOUR}, "revoked")]
)
async def test_an_invalid_key_is_explained(moment: dict[str, datetime], reason: str) -> None:
    new, key = make_key(**moment)
    with pytest.raises(AccessRefused, match=reason) as caught:
        await KeyStoreBackend(RecordingKeyStore(key)).identify_user(new.text)
    assert caught.value.code == "unauthorized"
    assert new.text not in str(caught.value)


async def test_the_id_alone_reveals_no_revocation() -> None:
    new, key = make_key(revoked=NOW - HOUR)
    assert await KeyStoreBackend(RecordingKeyStore(key)).identify_user(new.text[:20] + "x" * 43) is None


async def test_every_wrong_key_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    new, key = make_key()
    compared: list[tuple[int, int]] = []

    def compare_recorded(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(backends, "same_digest", compare_recorded)
    unknown = generate_key()
    wrong = {
        "no key at all": NO_KEY_ID,
        "": NO_KEY_ID,
        unknown.text: unknown.id,
        new.text[:20] + "x" * 43: new.id,
        new.text[:-1]: NO_KEY_ID,
    }
    for text, name in wrong.items():
        store = RecordingKeyStore(key)
        compared.clear()
        assert await KeyStoreBackend(store).identify_user(text) is None
        assert (store.lookups, compared) == ([name], [(32, 32)])
        assert store.uses == []


async def test_a_stored_placeholder_key_is_not_accepted() -> None:
    store = RecordingKeyStore(ApiKey(NO_KEY_ID, NO_DIGEST, "no-user", "free", NOW))
    assert await KeyStoreBackend(store).identify_user("") is None


async def test_a_use_is_recorded_once_a_minute() -> None:
    new, key = make_key()
    store, now = RecordingKeyStore(key), [1000.0]
    backend = KeyStoreBackend(store, lambda: now[0])
    for seconds in (0.0, 1.0, USE_RECORD_INTERVAL - 2, 1.0, USE_RECORD_INTERVAL):
        now[0] += seconds
        assert await backend.identify_user(new.text)
        await backend.flush_writes()
    assert store.uses == [new.id] * 3


async def test_recording_a_use_delays_no_authentication() -> None:
    new, key = make_key()
    store = RecordingKeyStore(key)
    store.can_write.clear()
    backend = KeyStoreBackend(store)
    assert await backend.identify_user(new.text)
    assert store.uses == []
    store.can_write.set()
    await backend.flush_writes()
    assert store.uses == [new.id]


async def test_a_failed_record_is_repeated_with_the_next_use() -> None:
    new, key = make_key()
    store = RecordingKeyStore(key)
    store.can_write.clear()
    backend = KeyStoreBackend(store)
    assert await backend.identify_user(new.text)
    store.is_unavailable = True
    store.can_write.set()
    await backend.flush_writes()
    store.is_unavailable = False
    assert await backend.identify_user(new.text)
    await backend.flush_writes()
    assert store.uses == [new.id]


async def test_an_unavailable_store_refuses_as_busy() -> None:
    new, key = make_key()
    store = RecordingKeyStore(key)
    store.is_unavailable = True
    with pytest.raises(AccessRefused, match="Try again later") as caught:
        await KeyStoreBackend(store).identify_user(new.text)
    assert caught.value.code == "server_busy"
