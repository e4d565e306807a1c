import hashlib

import pytest

from fleetwire.access.identity.api_tokens import generate_token, hash_token, is_opaque


@pytest.mark.parametrize(("kind", "prefix"), [("ingest", "fwi_"), ("device", "fwd_"), ("user", "fwu_")])
def test_a_token_says_its_kind_and_holds_32_bytes(kind, prefix):
    token = generate_token(kind)
    assert token.startswith(prefix)
    assert len(token) == 4 + 43
    assert is_opaque(token)
    assert generate_token(kind) != token


@pytest.mark.parametrize(
    "token", ["", "fwi_", "fwx_" + "a" * 43, "fwi_" + "a" * 42, "fwi_" + "a" * 44, "fwi_" + "a" * 42 + "\n", "a.b.c"]
)
def test_what_was_not_minted_has_another_shape(token):
    assert not is_opaque(token)


def test_the_digest_is_the_sha256_of_the_whole_token():
    assert hash_token("fwi_abc") == hashlib.sha256(b"fwi_abc").digest()


def test_half_a_character_has_a_digest_too():
    assert len(hash_token("\ud800")) == 32
