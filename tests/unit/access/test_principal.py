import pytest

from fleetwire.access.identity.principal import PERMISSIONS, USER_ROLES, Principal
from fleetwire.errors import Problem


def principal(**members):
    return Principal(
        **{
            "tenant_id": 1,
            "tenant": "acme",
            "kind": "user",
            "role": "dispatcher",
            "device_id": None,
            "device": None,
            "user_id": 7,
            "user": "dora",
            "expires_at_millis": None,
            "credential_hash": bytes(32),
        }
        | members
    )


@pytest.mark.parametrize(
    ("kind", "role", "device_id", "may_ingest", "may_watch"),
    [
        ("ingest", "ingest", None, True, False),
        ("device", "device", 4, True, False),
        ("user", "driver", 4, True, False),
        ("user", "driver", None, False, False),
        ("user", "dispatcher", None, False, True),
        ("user", "admin", None, False, True),
        ("user", "viewer", None, False, True),
        ("user", "customer", None, False, False),
    ],
)
def test_each_role_may_what_the_table_says(kind, role, device_id, may_ingest, may_watch):
    asker = principal(kind=kind, role=role, device_id=device_id)
    assert (asker.may_ingest(), asker.may_watch()) == (may_ingest, may_watch)


def test_every_role_of_a_user_has_a_line():
    assert set(PERMISSIONS) == USER_ROLES | {"ingest", "device"}


def test_what_a_role_may_not_is_forbidden():
    with pytest.raises(Problem) as refused:
        principal(role="customer").require("watch")
    assert (refused.value.status, refused.value.code) == (403, "forbidden")


def test_a_revocation_names_the_session_of_a_login_and_the_hash_of_a_token():
    assert principal().revocation_key == bytes(32)
    assert principal(session_id=b"s" * 16).revocation_key == b"s" * 16


def test_scopes_narrow_a_role_and_never_widen_it():
    assert not principal(role="admin", scopes=frozenset({"watch"})).may("administer")
    assert principal(role="admin", scopes=frozenset({"watch"})).may("watch")
    assert not principal(role="viewer", scopes=frozenset({"administer"})).may("administer")
    assert not principal(scopes=frozenset()).may("watch")


def test_a_driver_sees_its_own_device_and_a_dispatcher_every_one():
    driver = principal(role="driver", device_id=4)
    assert [driver.sees_device(each) for each in (4, 5)] == [True, False]
    assert not principal(role="driver").sees_device(4)
    assert principal().sees_device(5)
    assert not principal(kind="device", role="device", device_id=4).sees_device(4)
