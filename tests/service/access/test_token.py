import hashlib

import pytest

from service.access import presented_token
from service.access.token import PREFIX, digest_token, new_token
from service.errors import Unauthenticated


def test_tokens_are_long_recognisable_and_never_the_same():
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in tokens)


def test_what_is_made_can_be_presented():
    token = new_token()
    assert presented_token(f"Bearer {token}", None) == token
    assert presented_token(None, token) == token


def test_the_digest_is_sha256_of_any_text():
    assert digest_token("y7_ä") == hashlib.sha256("y7_ä".encode()).digest()
    assert len(digest_token("\ud800\x00")) == 32


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(scheme):
    assert presented_token(f"  {scheme}   abc ", None) == "abc"


def test_nothing_presented_is_none():
    assert presented_token(None, None) is None
    assert presented_token("", None) is None


def test_another_scheme_is_not_ours():
    assert presented_token("Basic dXNlcjpwYXNz", None) is None
    assert presented_token("Basic dXNlcjpwYXNz", "abc") == "abc"


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer two words", None),
        ("Bearer schlüssel", None),
        ("Bearer " + "a" * 129, None),
        ("Bearer a\x00b", None),
        (None, ""),
        (None, "a,b"),
        (None, "\ud800"),
        (None, "x" * 1_000_000),
    ],
)
def test_malformed_is_refused_without_repeating_it(authorization, x_api_key):
    with pytest.raises(Unauthenticated) as refusal:
        presented_token(authorization, x_api_key)
    assert str(refusal.value) == "the key is malformed; send `Authorization: Bearer <key>` or `X-API-Key: <key>`"


def test_both_fields_may_carry_the_same_key_but_not_two():
    assert presented_token("Bearer abc", "abc") == "abc"
    with pytest.raises(Unauthenticated, match="different keys"):
        presented_token("Bearer abc", "abd")
