from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.limits import ways
from echoic.limits.identity import Identity
from echoic.limits.keys import Key, KeyStoreUnavailable
from echoic.limits.secret import NO_DIGEST, NO_ID, NewKey, digest_of, make_key
from echoic.limits.ways import NOTE_SECONDS, SingleKey, StoredKeys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class Shelf:
    """A store of keys in memory that remembers what it was asked."""

    def __init__(self, *keys: Key) -> None:
        self.keys = {key.id: key for key in keys}
        self.asked: list[str] = []
        self.uses: list[str] = []
        self.is_away = False
        self.is_slow = asyncio.Event()
        self.is_slow.set()

    async def find(self, name: str) -> Key | None:
        self.asked.append(name)
        if self.is_away:
            raise KeyStoreUnavailable
        return self.keys.get(name)

    async def find_all(self, names: Collection[str]) -> Mapping[str, Key]:
        return {name: self.keys[name] for name in names if name in self.keys}

    async def used(self, name: str, when: datetime) -> None:  # noqa: ARG002  # the protocol's signature
        await self.is_slow.wait()
        if self.is_away:
            raise KeyStoreUnavailable
        self.uses.append(name)


def made(expires: datetime | None = None, revoked: datetime | None = None) -> tuple[NewKey, Key]:
    new = make_key()
    return new, Key(new.id, digest_of(new.text), "anna", "free", NOW, expires=expires, revoked=revoked)


async def test_the_single_key_is_the_default_user_of_the_premium_tier() -> None:
    way = SingleKey(digest_of("right"))
    assert await way.identify("right") == Identity("default", "premium")
    assert await way.identify("wrong") is None
    assert digest_of("right").hex() not in repr(way)


async def test_a_stored_key_is_its_user() -> None:
    new, key = made(expires=NOW + HOUR)
    assert await StoredKeys(Shelf(key)).identify(new.text) == Identity("anna", "free", new.id)


@pytest.mark.parametrize(
    ("moment", "told"), [({"expires": NOW - HOUR}, "expired"), ({"revoked": NOW - HOUR}, "revoked")]
)
async def test_a_key_that_does_not_count_any_more_says_why(moment: dict[str, datetime], told: str) -> None:
    new, key = made(**moment)
    with pytest.raises(AccessRefused, match=told) as caught:
        await StoredKeys(Shelf(key)).identify(new.text)
    assert caught.value.code == "unauthorized"
    assert new.text not in str(caught.value)


async def test_who_has_only_the_id_is_not_told_that_the_key_was_revoked() -> None:
    new, key = made(revoked=NOW - HOUR)
    assert await StoredKeys(Shelf(key)).identify(new.text[:20] + "x" * 43) is None


async def test_every_wrong_key_takes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    new, key = made()
    compared: list[tuple[int, int]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(ways, "same_digest", watched)
    unknown = make_key()
    wrong = {
        "no key at all": NO_ID,
        "": NO_ID,
        unknown.text: unknown.id,
        new.text[:20] + "x" * 43: new.id,
        new.text[:-1]: NO_ID,
    }
    for text, name in wrong.items():
        shelf = Shelf(key)
        compared.clear()
        assert await StoredKeys(shelf).identify(text) is None
        assert (shelf.asked, compared) == ([name], [(32, 32)])
        assert shelf.uses == []


async def test_a_store_that_holds_the_key_of_nobody_lets_nobody_in() -> None:
    shelf = Shelf(Key(NO_ID, NO_DIGEST, "nobody", "free", NOW))
    assert await StoredKeys(shelf).identify("") is None


async def test_a_use_is_noted_once_a_minute() -> None:
    new, key = made()
    shelf, now = Shelf(key), [1000.0]
    way = StoredKeys(shelf, lambda: now[0])
    for seconds in (0.0, 1.0, NOTE_SECONDS - 2, 1.0, NOTE_SECONDS):
        now[0] += seconds
        assert await way.identify(new.text)
        await way.settle()
    assert shelf.uses == [new.id] * 3


async def test_nobody_waits_for_the_note() -> None:
    new, key = made()
    shelf = Shelf(key)
    shelf.is_slow.clear()
    way = StoredKeys(shelf)
    assert await way.identify(new.text)
    assert shelf.uses == []
    shelf.is_slow.set()
    await way.settle()
    assert shelf.uses == [new.id]


async def test_a_note_that_could_not_be_written_is_written_with_the_next_use() -> None:
    new, key = made()
    shelf = Shelf(key)
    shelf.is_slow.clear()
    way = StoredKeys(shelf)
    assert await way.identify(new.text)
    shelf.is_away = True
    shelf.is_slow.set()
    await way.settle()
    shelf.is_away = False
    assert await way.identify(new.text)
    await way.settle()
    assert shelf.uses == [new.id]


async def test_a_store_that_is_away_lets_nobody_in_and_says_so() -> None:
    new, key = made()
    shelf = Shelf(key)
    shelf.is_away = True
    with pytest.raises(AccessRefused, match="try again later") as caught:
        await StoredKeys(shelf).identify(new.text)
    assert caught.value.code == "server_busy"
