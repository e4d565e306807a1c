"""The ledger of the adversity tests finds what it is there to find."""

import json

import pytest

from harness import ledger as ledgers
from harness.client import Answer
from harness.database import Stored
from harness.fixes import track
from harness.ledger import Ledger

FIXES = track(4, start_millis=1_000_000_000_000)
ROWS = [
    Stored("van", each["timestamp"], round(each["latitude"] * 1e7), round(each["longitude"] * 1e7)) for each in FIXES
]


class Told:
    """A client whose server answers what a test says."""

    def __init__(self, *answers):
        self._answers = list(answers)

    async def send(self, batch, *, token):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _receipt(stored, duplicate, *rejected):
    rejects = [{"index": index, "code": "timestamp_future", "detail": "Late."} for index in rejected]
    members = {"stored": stored, "duplicate": duplicate, "rejected": rejects}
    return Answer(200, {"content-type": "application/json"}, json.dumps(members).encode())


def _refusal(status):
    problem = {"title": "T", "status": status, "code": "some_code", "detail": "D."}
    headers = {"content-type": "application/problem+json", "Retry-After": "1"}
    return Answer(status, headers, json.dumps(problem).encode())


LOST = ConnectionResetError()


@pytest.fixture
def find(monkeypatch):
    """Sends the four fixes once per answer, and holds the ledger against a table of these rows and transactions."""

    async def found(answers, rows, transactions=(), **options):
        async def table(dsn, tenant):
            return rows

        async def segments(dsn, statement, tenant):
            return transactions

        monkeypatch.setattr(ledgers, "stored", table)
        monkeypatch.setattr(ledgers, "rows", segments)
        ledger, client = Ledger(), Told(*answers)
        for _ in answers:
            await ledger.send(client, "token", "van", FIXES)
        findings = await ledger.compare("dsn", "tenant", **options)
        return {name for name, items in vars(findings).items() if items}

    return found


@pytest.mark.parametrize(
    ("answers", "rows"),
    [
        ([_receipt(4, 0)], ROWS),
        ([_receipt(4, 0), _receipt(0, 4)], ROWS),
        ([_receipt(3, 0, 1)], [ROWS[0], *ROWS[2:]]),
        ([LOST], ROWS),
        ([LOST], []),
        ([_refusal(503)], ROWS),
        ([_refusal(503), _receipt(0, 4)], ROWS),
        ([_refusal(400)], []),
    ],
)
async def test_kept_promises_are_found_kept(find, answers, rows):
    assert await find(answers, rows) == set()


@pytest.mark.parametrize(
    ("answers", "rows", "expected"),
    [
        ([_receipt(4, 0)], ROWS[1:], {"missing", "miscounted"}),
        ([_receipt(0, 4)], ROWS[1:], {"missing", "miscounted"}),
        ([_receipt(4, 0)], [*ROWS, ROWS[0]], {"doubled", "miscounted"}),
        ([LOST], ROWS[1:], {"torn"}),
        ([_refusal(503)], ROWS[1:], {"torn"}),
        ([_refusal(400)], ROWS, {"foreign", "miscounted"}),
        ([_receipt(3, 0, 1)], ROWS, {"foreign", "miscounted"}),
        ([_receipt(4, 0)], [*ROWS[1:], ROWS[0]._replace(lat_e7=1)], {"foreign"}),
        ([_receipt(4, 0), _receipt(4, 0)], ROWS, {"miscounted"}),
        ([_receipt(0, 4)], ROWS, {"miscounted"}),
    ],
)
async def test_broken_promises_are_found(find, answers, rows, expected):
    assert expected <= await find(answers, rows)


async def test_commit_whose_answer_never_came_makes_the_senders_fixes_duplicates(find):
    assert await find([_receipt(0, 4)], ROWS, commits_went_unheard=True) == set()


async def test_group_that_was_answered_in_two_ways_is_found(monkeypatch):
    ledger, other = Ledger(), track(4, start_millis=1_100_000_000_000)
    await ledger.send(Told(_receipt(4, 0)), "token", "van", FIXES)
    await ledger.send(Told(_refusal(503)), "token", "bus", other)
    segments = [("7", "van", FIXES[0]["timestamp"]), ("7", "bus", other[0]["timestamp"])]
    assert [batch.device for batch in ledger._split(segments)] == ["bus"]
    assert ledger._split([segments[0], ("8", *segments[1][1:])]) == []
