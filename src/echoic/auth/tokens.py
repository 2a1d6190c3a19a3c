"""Authenticates users by signed tokens (JWT) of another service.

The configured key decides the algorithm, never the token. So a public key is never used as a shared secret,
and the algorithm ``none`` is not accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, Literal

from echoic.auth.identity import Identity
from echoic.auth.keys import is_valid_tier_name, is_valid_user_name
from echoic.errors import AccessRefused, ErrorCode

#: The command that installs the JWT library.
JWT_INSTALL_HINT: Final = "pip install 'echoic[jwt]'"
#: The minimum length of a shared secret, in bytes: that of the digest (Source: RFC 7518, section 3.2).
MIN_SECRET_BYTES: Final = 32
#: The tier of tokens without the claim ``tier``.
DEFAULT_TOKEN_TIER: Final = "free"  # noqa: S105  # a tier, not a password
#: The maximum length of a token, in characters.
_MAX_TOKEN_LENGTH: Final = 8192
_JWT_DOTS: Final = 2
_JWT_REFUSALS: Final = {
    "ExpiredSignatureError": "This token has expired.",
    "ImmatureSignatureError": "This token is not valid yet.",
    "InvalidIssuerError": "This token comes from another issuer.",
}


class JwtUnavailable(Exception):
    """Tokens cannot be verified: a setting is unusable, or the library is missing.

    Args:
        message: The reason, as a sentence without secrets.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class JwtBackend:
    """Accepts signed tokens with the claims ``sub`` (the user), ``exp``, and optionally ``tier``.

    A token is checked when a stream is opened; its expiry does not end the stream.

    Raises:
        JwtUnavailable: The library is not installed, or the key does not fit the algorithm.
    """

    #: The only accepted algorithm.
    algorithm: Literal["HS256", "RS256"]
    #: The shared secret (HS256), or the public key as PEM (RS256).
    key: bytes = field(repr=False)
    #: The required ``iss``, or None: any.
    issuer: str | None = None
    #: The required ``aud``, or None: tokens with an audience are rejected.
    audience: str | None = None
    #: The tolerated clock difference, in seconds.
    leeway: float = 30.0

    def __post_init__(self) -> None:
        if find_spec("jwt") is None or (self.algorithm == "RS256" and find_spec("cryptography") is None):
            raise JwtUnavailable(f"Tokens (JWT) need an optional library: {JWT_INSTALL_HINT}")
        if self.algorithm == "HS256":
            if len(self.key) < MIN_SECRET_BYTES:
                raise JwtUnavailable(f"jwt_secret must have at least {MIN_SECRET_BYTES} bytes.")
            if b"-----BEGIN" in self.key:
                raise JwtUnavailable("jwt_secret must not be a PEM key. For RS256 set jwt_public_key_file.")
            return
        _check_public_rsa_key(self.key)

    async def identify_user(self, credential: str) -> Identity | None:
        """Return the token's user, or None if the text is not a token with a valid signature.

        Raises:
            AccessRefused: The signature is valid, but the token has expired, is not valid yet, is for another
                audience or from another issuer, or has an invalid ``sub`` or ``tier``.
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
            raise _build_refusal("This token is for another audience, or lacks exp or sub.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        return _parse_claims(claims)


def _parse_claims(claims: Mapping[str, object]) -> Identity:
    user, tier = claims.get("sub"), claims.get("tier", DEFAULT_TOKEN_TIER)
    if not isinstance(user, str) or not is_valid_user_name(user):
        raise _build_refusal("This token has no valid user name in 'sub'.")
    if not isinstance(tier, str) or not is_valid_tier_name(tier):
        raise _build_refusal("This token has no valid tier name in 'tier'.")
    return Identity(user, tier)


def _build_refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


def _check_public_rsa_key(pem: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415  # an optional part
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  # an optional part

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise JwtUnavailable("jwt_public_key_file must contain an RSA public key as PEM (BEGIN PUBLIC KEY).")
