"""API keys: generation, parsing and digests, and the rules for the names of users and tiers.

A key is ``echoic_ID_SECRET``: a public id of twelve hexadecimal digits and a secret of 256 random bits. So
large a secret cannot be guessed even from a fast digest: SHA-256 is enough, and the slow hashes that
passwords need would only cost time at each connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex, token_urlsafe
from typing import Final

from echoic.auth.identity import LOCAL_TIER

#: The prefix of every key, by which secret scanners recognize them.
KEY_PREFIX: Final = "echoic_"
#: The prefix of a key in the settings that is given as the hexadecimal SHA-256 of its UTF-8.
DIGEST_PREFIX: Final = "sha256:"
_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY_PATTERN: Final = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
#: An id that no key has. It is looked up for a text without an id, so that both cases take the same time.
NO_KEY_ID: Final = "0" * 2 * _ID_BYTES
#: A digest of no known text. It is compared if there is no key, so that both cases take the same time.
NO_DIGEST: Final = bytes(_DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key."""

    #: The public id.
    id: str
    #: The whole key; it is shown once and never stored.
    text: str = field(repr=False)


def generate_key() -> GeneratedKey:
    """Return a new key of 256 random bits."""
    key_id = NO_KEY_ID
    while key_id == NO_KEY_ID:
        key_id = token_hex(_ID_BYTES)
    return GeneratedKey(key_id, f"{KEY_PREFIX}{key_id}_{token_urlsafe(_SECRET_BYTES)}")


def parse_key_id(text: str) -> str:
    """Return the id in a key, or ``NO_KEY_ID`` if the text does not have the format of a key."""
    found = _KEY_PATTERN.fullmatch(text)
    return found[1] if found else NO_KEY_ID


def compute_digest(text: str) -> bytes:
    """Return the SHA-256 of a text's UTF-8; lone surrogates get a digest that matches no key."""
    return sha256(text.encode(errors="surrogatepass")).digest()


def same_digest(one: bytes, other: bytes) -> bool:
    """Compare two digests in constant time."""
    return compare_digest(one, other)


def parse_key_digest(text: str) -> bytes:
    """Return the digest of a key in the settings, which is the key itself or ``sha256:HEX``.

    Raises:
        ValueError: ``sha256:`` is not followed by 64 hexadecimal digits.
    """
    if not text.startswith(DIGEST_PREFIX):
        return compute_digest(text)
    try:
        digest = bytes.fromhex(text.removeprefix(DIGEST_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError("'sha256:' must be followed by 64 hexadecimal digits")
    return digest


#: The maximum length of a user name, in characters.
MAX_USER_NAME_LENGTH: Final = 128
_TIER_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)


def is_valid_user_name(text: str) -> bool:
    """Return whether a text is a user name: 1 to 128 printable characters without surrounding spaces."""
    return 0 < len(text) <= MAX_USER_NAME_LENGTH and text.isprintable() and text == text.strip()


def is_valid_tier_name(text: str) -> bool:
    """Return whether a text is a tier name: 1 to 32 of a-z, 0-9, - and _, starting with a letter.

    ``local`` is reserved for servers without authentication.
    """
    return _TIER_PATTERN.fullmatch(text) is not None and text != LOCAL_TIER
