import asyncio

from fleetwire.access.identity.credential_cache import REVOKED_TOKEN
from fleetwire.access.identity.principal import Principal
from fleetwire.access.identity.revocation_watch import RevocationWatch


def principal(credential_hash=bytes(32), expires_at_millis=None):
    return Principal(
        tenant_id=1,
        tenant="acme",
        kind="ingest",
        role="ingest",
        device_id=None,
        device=None,
        user_id=None,
        user=None,
        expires_at_millis=expires_at_millis,
        credential_hash=credential_hash,
    )


async def test_who_leaves_takes_the_timer_along():
    followers, ended = RevocationWatch(lambda: 0), []
    leave = followers.add(principal(expires_at_millis=20), ended.append)
    [follower] = followers._by_key[bytes(32)].values()
    leave()
    leave()
    assert follower.timer.cancelled()
    assert len(followers) == 0
    assert followers.principals() == []
    await asyncio.sleep(0.05)
    assert ended == []


async def test_the_end_of_one_credential_is_not_the_end_of_another():
    followers, ours, others = RevocationWatch(lambda: 0), [], []
    followers.add(principal(b"a" * 32), ours.append)
    followers.add(principal(b"a" * 32), ours.append)
    followers.add(principal(b"b" * 32), others.append)
    followers.end_all(b"a" * 32, REVOKED_TOKEN)
    assert [problem.code for problem in ours] == ["token_revoked"] * 2
    assert others == []
    assert [followed.credential_hash for followed in followers.principals()] == [b"b" * 32]


async def test_a_follower_that_fails_does_not_keep_the_next_from_hearing():
    followers, ended = RevocationWatch(lambda: 0), []

    def fails(_problem):
        raise RuntimeError

    followers.add(principal(), fails)
    followers.add(principal(), ended.append)
    followers.end_all(bytes(32), REVOKED_TOKEN)
    assert len(ended) == 1
