from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.auth import keys
from echoic.auth.keys import (
    NO_DIGEST,
    NO_KEY_ID,
    compute_digest,
    generate_key,
    parse_key_digest,
    parse_key_id,
    same_digest,
)


def test_a_key_holds_its_id_and_256_random_bits() -> None:
    one, other = generate_key(), generate_key()
    assert re.fullmatch(r"echoic_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", one.text)
    assert parse_key_id(one.text) == one.id != other.id
    assert one.text[20:] != other.text[20:]


def test_a_new_key_does_not_show_itself() -> None:
    new = generate_key()
    assert new.text not in repr(new)
    assert new.text[20:] not in str(new)


@given(st.text())
def test_any_text_has_a_digest_but_only_a_key_has_an_id(text: str) -> None:
    assert parse_key_id(text) == NO_KEY_ID
    assert len(compute_digest(text)) == 32
    assert not same_digest(compute_digest(text), NO_DIGEST)


def test_lone_surrogates_have_a_digest() -> None:
    assert not same_digest(compute_digest("\ud800"), compute_digest(""))


@pytest.mark.parametrize("more", ["x", "\n", " "])
def test_a_key_with_extra_characters_is_invalid(more: str) -> None:
    text = generate_key().text
    assert parse_key_id(text + more) == parse_key_id(more + text) == parse_key_id(text[:-1]) == NO_KEY_ID


def test_digests_are_compared_in_constant_time() -> None:
    assert "compare_digest" in inspect.getsource(keys.same_digest)
    assert same_digest(compute_digest("a"), compute_digest("a"))
    assert not same_digest(compute_digest("a"), compute_digest("b"))


def test_the_settings_accept_a_key_or_its_digest() -> None:
    assert (
        parse_key_digest("sha256:" + compute_digest("k").hex())
        == parse_key_digest("k")
        == compute_digest("k")
    )
    for wrong in ("sha256:", "sha256:12", "sha256:" + "g" * 64):
        with pytest.raises(ValueError, match="64 hexadecimal"):
            parse_key_digest(wrong)
