"""What an answer is kept under: never less than what decides about it."""

import itertools

import pytest
from litestar import Litestar, get

from fleetwire.access.identity.guards import requires
from fleetwire.access.identity.principal import Principal
from fleetwire.cache.rules import OPTION, Cached, CacheRule, CacheRules, rules_of, sorted_query
from fleetwire.errors import ConfigError

SCOPES = ("everyone", "tenant", "role", "user")


def principal(tenant_id=1, user_id=1, role="viewer", credential=b"a"):
    return Principal(
        tenant_id=tenant_id,
        tenant="t",
        kind="user" if user_id else "ingest",
        role=role,
        device_id=None,
        device=None,
        user_id=user_id,
        user=None,
        expires_at_millis=None,
        credential_hash=credential,
    )


ASKERS = [
    principal(),
    principal(credential=b"b"),
    principal(user_id=2),
    principal(role="admin"),
    principal(tenant_id=2),
    principal(user_id=None, role="ingest"),
    principal(user_id=None, role="ingest", credential=b"b"),
]
WHOSE = {
    "everyone": lambda _: (),
    "tenant": lambda who: (who.tenant_id,),
    "role": lambda who: (who.tenant_id, who.role),
    "user": lambda who: (who.tenant_id, who.role, who.user_id or who.credential_hash),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_two_share_an_answer_only_if_they_are_one_in_its_scope(scope):
    rule = CacheRule(Cached(secs=1, scope=scope), "watch")
    for one, other in itertools.product(ASKERS, ASKERS):
        is_shared = rule.key("/p", b"", one) == rule.key("/p", b"", other)
        assert is_shared == (WHOSE[scope](one) == WHOSE[scope](other))


def test_path_and_query_cannot_be_mistaken_for_each_other():
    rule = CacheRule(Cached(secs=1), "watch")
    asked = [("/p", b""), ("/p", b"a=1"), ("/p/", b""), ("/p", b"a=1&b=2"), ("/p", b"a=1&b=3"), ("/pa=1", b"")]
    assert len({rule.key(path, query, ASKERS[0]) for path, query in asked}) == len(asked)


def test_tags_belong_to_their_tenant():
    rule = CacheRule(Cached(secs=1, tags=("devices", "users")), "watch")
    assert rule.tags_of(principal(tenant_id=12)) == (b"12:*", b"12:devices", b"12:users")
    assert CacheRule(Cached(secs=1, scope="everyone", tags=("page",)), None).tags_of(None) == (b"0:page",)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", b""), (b"b=1", b"b=1"), (b"b=1&a=2", b"a=2&b=1"), (b"a=2&b=1", b"a=2&b=1"),
        (b"b=0&a=2&a=1", b"a=2&a=1&b=0"), (b"a=1&a=2", b"a=1&a=2"), (b"&&a", b"&&a"),
    ],
)  # fmt: skip
def test_order_of_names_does_not_count_and_that_of_values_does(query, expected):
    assert sorted_query(query) == expected


def test_a_path_without_parameters_goes_before_one_with():
    one, other = (CacheRule(Cached(secs=secs), None) for secs in (1, 2))
    rules = CacheRules({"/a/list": None, "/a": one}, [("/a/{name:str}", other)])
    paths = ["/a", "/a/list", "/a/b", "/a/b/c", "/a/", "/x"]
    assert [rules.find(path) for path in paths] == [one, None, other, None, None, None]


def test_declarations_are_read_with_their_permission():
    @get("/kept", guards=[requires("watch")], opt={OPTION: Cached(secs=1)})
    async def kept() -> None: ...

    @get("/open", opt={OPTION: Cached(secs=1), "public": True})
    async def open_to_all() -> None: ...

    @get("/plain")
    async def plain() -> None: ...

    rules = rules_of(Litestar([kept, open_to_all, plain], openapi_config=None), {"/file": Cached(secs=9)})
    found = {path: rules.find(path) for path in ("/kept", "/open", "/plain", "/file")}
    assert (found["/kept"].permission, found["/open"].permission, found["/plain"]) == ("watch", None, None)
    assert found["/file"].cached.secs == 9


@pytest.mark.parametrize("guards", [[], [lambda *_: None], [requires("watch"), requires("operate")]])
def test_a_route_whose_permission_cannot_be_read_is_refused(guards):
    @get("/kept", guards=guards, opt={OPTION: Cached(secs=1)})
    async def kept() -> None: ...

    with pytest.raises(ConfigError, match="exactly one guard"):
        rules_of(Litestar([kept], openapi_config=None), {})
