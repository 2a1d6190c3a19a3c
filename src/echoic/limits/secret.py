"""A key's text: made, taken apart, digested and compared.

A key is ``echoic_ID_SECRET``: twelve hexadecimal digits that are no secret and say where to look, and 256
random bits that are. So much chance cannot be guessed through its digest, however fast that is computed:
SHA-256 is enough, and the slow hashes that passwords need would only cost time at each connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex, token_urlsafe
from typing import Final

#: What a key begins with; programs that look for secrets in files know them by it.
KEY_PREFIX: Final = "echoic_"
#: The one key of the settings may be written as this and the hexadecimal SHA-256 of its UTF-8.
DIGEST_PREFIX: Final = "sha256:"
_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY_PATTERN: Final = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
#: The id of no key: what is looked up for a text that holds none, so that this takes as long.
NO_KEY_ID: Final = "0" * 2 * _ID_BYTES
#: A digest that no text has been found to have: what is compared with where there is no key.
NO_DIGEST: Final = bytes(_DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A key that was just made.

    Attributes:
        id: Its public part.
        text: All of it: shown once, kept nowhere.
    """

    id: str
    text: str = field(repr=False)


def generate_key() -> GeneratedKey:
    """Return a new key of 256 random bits."""
    name = NO_KEY_ID
    while name == NO_KEY_ID:
        name = token_hex(_ID_BYTES)
    return GeneratedKey(name, f"{KEY_PREFIX}{name}_{token_urlsafe(_SECRET_BYTES)}")


def parse_key_id(text: str) -> str:
    """Return the id that stands in a key, or ``NO_KEY_ID`` if it has not the form of a key."""
    found = _KEY_PATTERN.fullmatch(text)
    return found[1] if found else NO_KEY_ID


def compute_digest(text: str) -> bytes:
    """Return the SHA-256 of a key's UTF-8; of one that is no Unicode something that matches no key."""
    return sha256(text.encode(errors="surrogatepass")).digest()


def same_digest(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in a time that does not depend on where they differ."""
    return compare_digest(one, other)


def parse_key_digest(text: str) -> bytes:
    """Return the digest of a key as the settings hold it: of the key, or the one that ``sha256:HEX`` names.

    Raises:
        ValueError: ``sha256:`` with something else than 64 hexadecimal digits after it.
    """
    if not text.startswith(DIGEST_PREFIX):
        return compute_digest(text)
    try:
        digest = bytes.fromhex(text.removeprefix(DIGEST_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError("after 'sha256:' there must be 64 hexadecimal digits")
    return digest
