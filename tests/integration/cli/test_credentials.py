"""`fleetwire keys` and a driver's device on the command line."""

import json

from harness.database import rows
from harness.process import run, run_all


async def test_keys_are_rotated_listed_and_never_shown(database):
    target = ("--database-url", database)
    first, second, listed, dropped, left = run_all(
        ("keys", "rotate", *target),
        ("keys", "rotate", *target),
        ("keys", "list", "--json", *target),
        ("keys", "rotate", "--drop-old", *target),
        ("keys", "list", "--json", *target),
    )
    assert {first.returncode, second.returncode, listed.returncode, dropped.returncode, left.returncode} == {0}
    keys = json.loads(listed.stdout)
    assert [key["kid"] for key in keys] == [second.stdout.strip(), first.stdout.strip()]
    assert [key["retired_at"] is None for key in keys] == [True, False]
    assert [key.keys() for key in keys] == [{"kid", "created_at", "retired_at"}] * 2
    assert [key["kid"] for key in json.loads(left.stdout)] == [dropped.stdout.strip()]


async def test_a_driver_is_given_a_device(database):
    made = run(
        "user", "create", "ruth", "--tenant", "acme", "--role", "driver", "--device", "van-1",
        "--database-url", database, typed="correct horse battery staple\n",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = await rows(
        database, "SELECT u.name, d.name FROM app_user AS u JOIN device AS d USING (tenant_id, device_id)"
    )
    assert found == [("ruth", "van-1")]
    wrong = run(
        "user", "create", "vera", "--tenant", "acme", "--role", "viewer", "--device", "van-1",
        "--database-url", database, typed="correct horse battery staple\n",
    )  # fmt: skip
    assert (wrong.returncode, "device_of_driver" in wrong.stderr) == (1, True)
    noted = await rows(database, "SELECT actor, action, subject, detail::text FROM audit_log")
    assert noted == [("operator", "user.create", "ruth", '{"role": "driver", "device": "van-1"}')]
