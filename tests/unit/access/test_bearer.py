import pytest

from fleetwire.access.identity.bearer import presented_token
from fleetwire.errors import Problem


def scope(*headers, method="GET", kind="http", query=b""):
    made = {"type": kind, "scheme": "http", "headers": [(b"host", b"fleet.example"), *headers], "query_string": query}
    return made | ({"method": method} if kind == "http" else {})


def token(*headers, **members):
    return presented_token(scope(*headers, **members), frozenset())


def code(*headers, **members):
    with pytest.raises(Problem) as refused:
        token(*headers, **members)
    return refused.value.status, refused.value.code


COOKIE = (b"cookie", b"theme=dark; fleetwire_session=c.c.c; x=y")
OWN = (b"origin", b"http://fleet.example")
FOREIGN = (b"origin", b"http://evil.example")


def test_the_bearer_header_is_read_whatever_the_case_of_its_scheme():
    assert token((b"authorization", b"Bearer abc")) == "abc"
    assert token((b"authorization", b"bearer  abc ")) == "abc"


def test_the_header_wins_over_the_cookie_and_needs_no_origin():
    assert token((b"authorization", b"Bearer abc"), COOKIE, FOREIGN, method="POST") == "abc"


def test_another_scheme_leaves_it_to_the_cookie():
    assert token((b"authorization", b"Basic eDp5"), COOKIE) == "c.c.c"
    assert code((b"authorization", b"Basic eDp5")) == (401, "token_missing")


def test_two_authorization_headers_are_refused():
    assert code((b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")) == (401, "token_invalid")


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer ", b"abc"])
def test_a_header_without_a_token_is_no_credential(value):
    assert code((b"authorization", value)) == (401, "token_missing")


def test_a_token_longer_than_any_made_here_is_refused_unread():
    assert code((b"authorization", b"Bearer " + b"a" * 2_049)) == (401, "token_invalid")


def test_the_cookie_may_come_in_a_header_of_its_own():
    assert token((b"cookie", b"a=b"), (b"cookie", b"fleetwire_session=c.c.c")) == "c.c.c"


def test_a_cookie_with_a_longer_name_is_another_cookie():
    assert code((b"cookie", b"xfleetwire_session=c; fleetwire_session2=c")) == (401, "token_missing")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_with_the_cookie_needs_no_origin(method):
    assert token(COOKIE, method=method) == "c.c.c"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writing_with_the_cookie_needs_the_own_origin(method):
    assert token(COOKIE, OWN, method=method) == "c.c.c"
    assert code(COOKIE, method=method) == (403, "origin_forbidden")
    assert code(COOKIE, FOREIGN, method=method) == (403, "origin_forbidden")


def test_a_handshake_with_the_cookie_needs_the_own_origin():
    assert token(COOKIE, OWN, kind="websocket") == "c.c.c"
    assert code(COOKIE, kind="websocket") == (403, "origin_forbidden")
    assert code(COOKIE, FOREIGN, kind="websocket") == (403, "origin_forbidden")


@pytest.mark.parametrize("query", [b"token=abc", b"access_token=abc", b"authorization=Bearer%20abc"])
def test_the_query_string_is_never_read(query):
    assert code(query=query) == (401, "token_missing")
