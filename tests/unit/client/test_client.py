import random

import pytest

from fleetwire.client import authorization, endpoint, is_temporary, parse_problem, parse_receipt, retry_delay_secs
from fleetwire.errors import ConfigError, Problem


def test_addresses_keep_their_path_and_turn_into_socket_addresses():
    assert endpoint("http://127.0.0.1:8000", "/ws", socket=True) == "ws://127.0.0.1:8000/ws"
    assert endpoint("https://fleet.example/base/", "/ws", socket=True) == "wss://fleet.example/base/ws"
    assert endpoint("https://fleet.example/base/", "/api") == "https://fleet.example/base/api"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:99999", ""])
def test_an_invalid_address_is_refused(url):
    with pytest.raises(ConfigError, match=r"^url: "):
        endpoint(url, "/ws")


@pytest.mark.parametrize("token", ["", " ", "a b", "a\r\nX-Other: 1", "schlüssel"])
def test_an_invalid_token_is_refused_and_not_shown(token):
    with pytest.raises(ConfigError, match=r"^token: ") as refused:
        authorization(token)
    assert "X-Other" not in str(refused.value)


def test_retry_delays_grow_are_jittered_and_are_never_shorter_than_retry_after():
    rng = random.Random(1)
    delays = [[retry_delay_secs(attempt, 0, rng) for _ in range(200)] for attempt in range(40)]
    assert max(delays[0]) <= 0.1
    assert all(max(each) <= 5 for each in delays)
    assert min(delays[20]) > 1
    assert len(set(delays[3])) == 200
    assert min(retry_delay_secs(0, 7, rng) for _ in range(50)) >= 7


def test_problems_are_read_from_documents_and_from_anything_else():
    problem = parse_problem(429, b'{"code":"rate_limited","detail":"Slower."}', "12")
    assert (problem.code, problem.detail, problem.status, problem.retry_after_secs) == (
        "rate_limited",
        "Slower.",
        429,
        12,
    )
    assert parse_problem(502, b"<html>", None).code == "http_502"
    assert parse_problem(503, b"[]", "Thu, 01 Jan 1970 00:00:00 GMT").retry_after_secs == 0
    assert parse_problem(503, b"", "soon").retry_after_secs is None


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(503, True), (500, True), (429, True), (408, True), (401, False), (413, False), (307, False)],
)
def test_only_temporary_failures_are_tried_again(status, temporary):
    assert is_temporary(Problem("x", "x", status=status)) is temporary


def test_a_receipt_counts_its_rejects_by_code():
    receipt = parse_receipt(
        {"stored": 2, "duplicate": 1, "rejected": [{"index": 0, "code": "a"}, {"code": "a"}, {"code": "b"}]}
    )
    assert receipt.rejected == {"a": 2, "b": 1}
    assert receipt.fixes == 6
    with pytest.raises(Problem, match="receipt_unreadable"):
        parse_receipt({"stored": 2})
