from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from echoic.auth.identity import Identity
from echoic.auth.tokens import JwtBackend, JwtUnavailable
from echoic.errors import AccessRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = b"a shared secret of enough bytes for HS256"
OWNER = rsa.generate_private_key(65537, 2048)
PUBLIC = OWNER.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
HS256 = JwtBackend("HS256", SECRET)
RS256 = JwtBackend("RS256", PUBLIC)


def claims(**more: object) -> dict[str, Any]:
    return {"sub": "anna", "exp": time.time() + 60} | more


def token(
    more: Mapping[str, object] = MappingProxyType({}),
    *,
    key: bytes | rsa.RSAPrivateKey = SECRET,
    algorithm: str = "HS256",
) -> str:
    return jwt.encode(claims(**more), key, algorithm)


def part(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def forge_token(algorithm: str, secret: bytes) -> str:
    """Return a token that the library would refuse to sign."""
    body = part({"alg": algorithm, "typ": "JWT"}) + b"." + part(claims())
    mac = hmac.new(secret, body, hashlib.sha256).digest() if secret else b""
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


async def test_a_token_names_its_user_and_tier() -> None:
    assert await HS256.identify_user(token({"tier": "premium"})) == Identity("anna", "premium")
    assert await RS256.identify_user(token(key=OWNER, algorithm="RS256")) == Identity("anna", "free")


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_token_is_rejected(name: str) -> None:
    for secret in (b"", SECRET):
        for tokens in (HS256, RS256):
            assert await tokens.identify_user(forge_token(name, secret)) is None


async def test_a_public_key_is_never_used_as_a_shared_secret() -> None:
    assert await RS256.identify_user(forge_token("HS256", PUBLIC)) is None
    assert await RS256.identify_user(forge_token("RS256", PUBLIC)) is None


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_with_the_right_secret_is_rejected(algorithm: str) -> None:
    assert await HS256.identify_user(token(key=SECRET * 2, algorithm=algorithm)) is None
    assert (
        await JwtBackend("HS256", SECRET * 2).identify_user(token(key=SECRET * 2, algorithm=algorithm))
        is None
    )


async def test_a_wrong_signature_is_rejected() -> None:
    assert await HS256.identify_user(token(key=SECRET[::-1])) is None
    other = rsa.generate_private_key(65537, 2048)
    assert await RS256.identify_user(token(key=other, algorithm="RS256")) is None
    assert await RS256.identify_user(token(key=OWNER, algorithm="PS256")) is None
    assert await HS256.identify_user(token(key=OWNER, algorithm="RS256")) is None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"exp": 1}, "expired"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
        ({"iat": time.time() + 3600}, "not valid yet"),
        ({"sub": ""}, "no valid user name"),
        ({"sub": "a\nb"}, "no valid user name"),
        ({"sub": "x" * 129}, "no valid user name"),
        ({"tier": "Gold Plated"}, "no valid tier name"),
        ({"tier": 7}, "no valid tier name"),
        ({"tier": "local"}, "no valid tier name"),
        ({"aud": "another"}, "another audience"),
    ],
)
async def test_an_invalid_token_with_a_valid_signature_is_explained(
    more: dict[str, object], reason: str
) -> None:
    with pytest.raises(AccessRefused, match=reason) as caught:
        await HS256.identify_user(token(more))
    assert caught.value.code == "unauthorized"


@pytest.mark.parametrize("missing", ["exp", "sub"])
async def test_a_token_without_sub_or_exp_is_rejected(missing: str) -> None:
    body = {name: value for name, value in claims().items() if name != missing}
    with pytest.raises(AccessRefused, match="lacks"):
        await HS256.identify_user(jwt.encode(body, SECRET, "HS256"))


async def test_issuer_and_audience_must_match_the_settings() -> None:
    tokens = JwtBackend("HS256", SECRET, issuer="https://id.example", audience="echoic")
    right: dict[str, object] = {"iss": "https://id.example", "aud": ["echoic", "mail"]}
    assert await tokens.identify_user(token(right)) == Identity("anna", "free")
    for wrong in ({"iss": "https://evil.example"}, {"aud": "mail"}):
        with pytest.raises(AccessRefused):
            await tokens.identify_user(token(right | wrong))
    for missing in ("iss", "aud"):
        with pytest.raises(AccessRefused):
            await tokens.identify_user(token({name: right[name] for name in right if name != missing}))


async def test_clocks_may_differ_by_the_leeway() -> None:
    late = token({"exp": time.time() - 10})
    assert await JwtBackend("HS256", SECRET, leeway=20).identify_user(late)
    with pytest.raises(AccessRefused):
        await JwtBackend("HS256", SECRET, leeway=0).identify_user(late)


@given(st.text() | st.lists(st.text("abcdefXYZ012-_="), min_size=3, max_size=3).map(".".join))
async def test_garbage_is_no_token(text: str) -> None:
    assert await HS256.identify_user(text) is None
    assert await RS256.identify_user(text) is None


async def test_an_overlong_token_is_rejected() -> None:
    assert await HS256.identify_user(token({"pad": "x" * 10_000})) is None


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", b"short"),
        ("HS256", PUBLIC),
        ("RS256", SECRET),
        (
            "RS256",
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        ),
        (
            "RS256",
            OWNER.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        ),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused_at_the_start(
    algorithm: Literal["HS256", "RS256"], key: bytes
) -> None:
    with pytest.raises(JwtUnavailable) as caught:
        JwtBackend(algorithm, key)
    assert key.decode() not in str(caught.value)


def test_the_secret_does_not_show() -> None:
    assert SECRET.decode() not in repr(HS256)


def signed_text(header: str, payload: str) -> str:
    body = ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (header, payload)
    )
    mac = hmac.new(SECRET, body.encode(), "sha256").digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_key_hints_in_a_token_are_ignored() -> None:
    hints = {"kid": "../../../../dev/null", "jku": "http://127.0.0.1:1/", "x5u": "file:///dev/null"}
    for known, key in ((HS256, b""), (RS256, PUBLIC)):
        for name in ("HS256", "RS256"):
            empty = {"alg": name, "jwk": {"kty": "oct", "k": ""}} | hints
            body = signed_text(json.dumps(empty), '{"sub":"anna","exp":9999999999}').rpartition(".")[0]
            mac = (
                base64.urlsafe_b64encode(hmac.new(key, body.encode(), "sha256").digest())
                .rstrip(b"=")
                .decode()
            )
            assert await known.identify_user(f"{body}.{mac}") is None


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 5000,
        '{"sub":"anna","exp":1e400}',
        '{"sub":"anna","exp":NaN}',
        '{"sub":"anna","exp":[9999999999]}',
        '{"sub":"anna","exp":' + "9" * 5000 + "}",
        '{"sub":"anna","exp":9999999999,"nbf":"soon"}',
        '{"sub":"anna","exp":9999999999,"nbf":1e400}',
        '{"sub":{"$ne":1},"exp":9999999999}',
        '["sub"]',
        "null",
    ],
)
async def test_a_meaningless_payload_is_rejected(payload: str) -> None:
    assert await HS256.identify_user(signed_text('{"alg":"HS256","typ":"JWT"}', payload)) is None


async def test_a_deeply_nested_header_is_rejected() -> None:
    assert await HS256.identify_user(signed_text("[" * 5000, "{}")) is None
