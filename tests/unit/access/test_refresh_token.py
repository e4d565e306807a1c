"""The shape of refresh tokens."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from fleetwire.access.accounts import refresh_token


@given(st.integers(0, 2**31 - 1), st.uuids())
def test_what_is_handed_out_is_read_again(tenant_id, session_id):
    token = refresh_token.first(tenant_id, session_id)
    assert refresh_token.read(token.text()) == token


@given(st.text(max_size=120))
def test_whatever_is_presented_is_read_or_not(text):
    assert refresh_token.read(text) is None
    refresh_token.read(refresh_token.PREFIX + (text * 70)[:70])


def test_a_successor_is_of_the_same_family_and_another_token():
    first = refresh_token.first(7, uuid.uuid4())
    second = first.successor()
    assert (second.family_hash, second.session_id) == (first.family_hash, first.session_id)
    assert second.hash != first.hash


def test_no_token_prints_its_secrets():
    token = refresh_token.first(7, uuid.uuid4())
    assert token.family.hex() not in repr(token)
    assert repr(token.proof) not in repr(token)
