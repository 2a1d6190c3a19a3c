from __future__ import annotations

from echoic.auth.identity import ALL_SCOPES, LOCAL_IDENTITY, Identity, Scope


def test_an_identity_has_every_scope_by_default() -> None:
    assert Identity("anna", "free").scopes == ALL_SCOPES == {Scope.STREAM, Scope.READ}


def test_without_authentication_the_user_and_tier_are_local() -> None:
    assert (LOCAL_IDENTITY.user, LOCAL_IDENTITY.tier, LOCAL_IDENTITY.key_id) == ("local", "local", None)
