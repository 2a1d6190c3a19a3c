"""Signed tokens (JWT) of a service that knows the users already.

A token counts by one algorithm only, which the kind of our key decides and never the token: so a public key
is never taken for a shared secret, and ``none`` is no algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, Literal

from echoic.auth.identity import Identity
from echoic.auth.keys import is_valid_tier_name, is_valid_user_name
from echoic.errors import AccessRefused, ErrorCode

#: What brings the library.
JWT_INSTALL_HINT: Final = "pip install 'echoic[jwt]'"
#: Bytes that a shared secret must have at least (Source: RFC 7518, 3.2: as many as the digest).
MIN_SECRET_BYTES: Final = 32
#: The tier of a user whose token names none.
DEFAULT_TOKEN_TIER: Final = "free"
#: Characters of the longest token that is looked at.
_MAX_TOKEN_LENGTH: Final = 8192
_JWT_DOTS: Final = 2


class JwtUnavailable(Exception):
    """Tokens cannot be checked with what the settings say, or with what is installed.

    Args:
        message: Why, in a sentence, without a secret.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class JwtBackend:
    """Knows users by signed tokens: ``sub`` is the user, ``tier`` the tier, ``exp`` must be there.

    A token counts when a stream is opened; one that expires later does not end it.

    Attributes:
        algorithm: The only one that counts.
        key: The shared secret (HS256), or the public key as PEM (RS256).
        issuer: What ``iss`` must be, or None: anything.
        audience: What ``aud`` must name, or None: a token for a named audience does not count.
        leeway: Seconds by which clocks may differ.

    Raises:
        TokensUnavailable: The library is not installed, or the key is none for the algorithm.
    """

    algorithm: Literal["HS256", "RS256"]
    key: bytes = field(repr=False)
    issuer: str | None = None
    audience: str | None = None
    leeway: float = 30.0

    def __post_init__(self) -> None:
        if find_spec("jwt") is None or (self.algorithm == "RS256" and find_spec("cryptography") is None):
            raise JwtUnavailable(f"Tokens (JWT) need a library that is not installed: {JWT_INSTALL_HINT}")
        if self.algorithm == "HS256":
            if len(self.key) < MIN_SECRET_BYTES:
                raise JwtUnavailable(f"The secret of tokens must be {MIN_SECRET_BYTES} bytes long or longer.")
            if b"-----BEGIN" in self.key:
                raise JwtUnavailable("The secret of tokens must be no key as PEM: that is for RS256.")
            return
        _check_public_rsa_key(self.key)

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the user that a token names.

        Raises:
            AccessRefused: The token is signed well and has expired, is not valid yet, is meant for others, or
                names no user.
        """
        if len(credential) > _MAX_TOKEN_LENGTH or credential.count(".") != _JWT_DOTS:
            return None
        import jwt  # noqa: PLC0415  # an optional part

        try:
            claims = jwt.decode(
                credential,
                self.key,
                algorithms=[self.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                leeway=self.leeway,
                options={"require": ["exp", "sub"]},
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError, jwt.InvalidIssuerError) as error:
            raise _build_refusal(_JWT_REFUSALS[type(error).__name__]) from None
        except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError):
            raise _build_refusal("This token is not meant for this server, or lacks exp or sub.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        return _parse_claims(claims)


_JWT_REFUSALS: Final = {
    "ExpiredSignatureError": "This token has expired.",
    "ImmatureSignatureError": "This token is not valid yet.",
    "InvalidIssuerError": "This token comes from another issuer.",
}


def _parse_claims(claims: Mapping[str, object]) -> Identity:
    user, tier = claims.get("sub"), claims.get("tier", DEFAULT_TOKEN_TIER)
    if not isinstance(user, str) or not is_valid_user_name(user):
        raise _build_refusal("This token names no user in 'sub'.")
    if not isinstance(tier, str) or not is_valid_tier_name(tier):
        raise _build_refusal("This token names no tier in 'tier'.")
    return Identity(user, tier)


def _build_refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


def _check_public_rsa_key(pem: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415  # an optional part
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  # the same

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise JwtUnavailable("The public key of tokens must be an RSA key as PEM (BEGIN PUBLIC KEY).")
