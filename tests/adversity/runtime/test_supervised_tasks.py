"""Every background task of a worker goes on after an error of every class that PostgreSQL has, and does its work then.

The worker is a real one, in this process; a proxy answers its statements with the error. The same with a Redis that
refuses.
"""

import asyncio
from contextlib import contextmanager

import pytest
import redis

from fleetwire.access.identity import last_used
from fleetwire.engine import Engine
from fleetwire.postgres import listener
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.retry import failures_by_task
from fleetwire.settings import Settings
from fleetwire.store import retention
from fleetwire.store.maintenance import rounds
from fleetwire.telemetry import metrics
from harness.database import execute, rows
from harness.error_proxy import ErrorProxy
from harness.proxy import Proxy
from harness.tenants import Tenant
from harness.valkey import valkey

SQLSTATES = {
    "08006": "connection failure",
    "22003": "numeric value out of range",
    "23514": "check violation",
    "25006": "read-only transaction",
    "28P01": "invalid password",
    "3D000": "invalid catalog name",
    "40001": "serialization failure",
    "42P01": "undefined table",
    "53100": "disk full",
    "54000": "program limit exceeded",
    "55000": "object not in prerequisite state",
    "57P01": "admin shutdown",
    "58030": "I/O error",
    "XX001": "data corrupted",
}
FAILING = {
    "cache-notices",
    "credential-followers",
    "credential-uses",
    "event-tail",
    "listener",
    "live-doubts",
    "retention",
    "upkeep",
}
"""Those that meet the error by themselves; the committers and the spool's drain answer it or wait for a probe."""
TASKS = FAILING | {
    "committer-0",
    "erasures",
    "feed-heartbeat",
    "feed-tick",
    "socket-pulse",
    "spool-append",
    "spool-drain",
}
REDIS_TASKS = {"cache-shared", "limits-report", "relay", "relay-catch-up", "relay-heartbeat", "relay-movements"}
PATIENCE_SECS = 30


@pytest.fixture
def proxy(database):
    with ErrorProxy(database) as between:
        yield between


@pytest.fixture
async def engine(database, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(last_used, "WRITE_EVERY_SECS", 0.05)
    monkeypatch.setattr(retention, "FRESH_SECS", 0.05)
    monkeypatch.setattr(listener, "PROBE_SECS", 0.05)
    settings = Settings(database_url=proxy.dsn, spool=tmp_path / "spool", upkeep_secs=0.05, commit_give_up_secs=1.0)
    made = Engine(settings)
    await made.start()
    yield made
    await made.stop()


async def until(holds, what):
    async with asyncio.timeout(PATIENCE_SECS):
        while not await holds() if asyncio.iscoroutinefunction(holds) else not holds():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("sqlstate", SQLSTATES)
async def test_every_task_goes_on_after_an_error_of_every_class(database, proxy, engine, sqlstate):
    company = await asyncio.to_thread(Tenant, database)
    principal = await engine.gate.credentials.principal(company.ingest)
    tail = engine.events.tail(principal.tenant_id)
    await tail.ready()
    ended = []
    engine.gate.credentials.follow(principal, ended.append)
    await until(lambda: not engine.gate.uses._pending, "the first use is noted")
    started = {task.name for task in supervisor.supervised()}
    assert started >= TASKS, started
    before = dict(failures_by_task)

    with proxy.answering(sqlstate):
        engine.gate.uses.note(principal.tenant_id, principal.credential_id)
        engine.doubts.look_again([(principal.tenant_id, 1)])
        engine.responses.invalidate(principal.tenant_id, "devices")
        engine.gate.credentials.forget()
        tail.wake(None)
        await until(
            lambda: all(failures_by_task[name] > before.get(name, 0) for name in FAILING), "all tasks have met it"
        )
        await asyncio.sleep(0.3)

    await execute(database, "UPDATE credential SET last_used_at = NULL")
    await execute(database, "UPDATE credential SET revoked_at = now()")
    engine.gate.credentials.forget()
    await until(lambda: not any(task.state.failing_secs for task in supervisor.supervised()), "nothing fails any more")
    assert {task.name for task in supervisor.supervised()} == started
    assert supervisor.stuck_names() == []
    # Their work is done, not forgotten.
    await until(lambda: not engine.gate.uses._pending, "uses are noted")
    await until(lambda: len(engine.doubts) == 0, "doubts are settled")
    await until(lambda: ended and ended[0].code == "token_revoked", "the follower of a revoked credential is told")
    assert await rows(database, "SELECT FROM credential WHERE last_used_at IS NOT NULL")
    assert engine.listener.is_listening


@contextmanager
def another_password(server):
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        client.config_set("requirepass", "changed")
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")
        yield
        client.config_set("requirepass", "")


@contextmanager
def no_memory(server):
    server.command("CONFIG", "SET", "maxmemory", 1)
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    yield
    server.command("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("refusing", [another_password, no_memory], ids=lambda refusing: refusing.__name__)
async def test_every_task_goes_on_after_a_redis_that_refused(database, tmp_path, refusing):
    company = await asyncio.to_thread(Tenant, database)
    with valkey() as server:
        engine = Engine(Settings(database_url=database, redis_url=server.url, redis_prefix="test"))
        await engine.start()
        try:
            principal = await engine.gate.credentials.principal(company.ingest)
            started = {task.name for task in supervisor.supervised()}
            assert started >= REDIS_TASKS, started
            failures_before = sum(failures_by_task.values())
            connections = engine.relay.connections
            with refusing(server):
                for _ in range(10):
                    engine.responses.invalidate(principal.tenant_id, "devices")
                    engine.limits.take(engine.limits.policies()["feed"], "acme", "anna", 1, clock.monotonic_secs())
                    await asyncio.sleep(0.2)
            assert sum(failures_by_task.values()) > failures_before
            await until(lambda: engine.relay.connections > connections and engine.relay.state == "connected", "back")
            await until(lambda: not any(task.state.failing_secs for task in supervisor.supervised()), "nothing fails")
            assert {task.name for task in supervisor.supervised()} == started
            assert engine.responses.stats()["second_level"]["untold_writes"] == 0
        finally:
            await engine.stop()


async def test_a_round_of_upkeep_that_the_network_swallowed_is_given_up(database, monkeypatch):
    """Its connection waits for an answer that never comes, and no statement's time limit reaches the server."""
    monkeypatch.setattr(rounds, "MAX_ROUND_SECS", 0.5)
    with Proxy(database) as network:
        upkeep = rounds.Maintenance(network.dsn, Settings(database_url=network.dsn, upkeep_secs=0.05))
        upkeep.start()
        try:
            done = metrics.UPKEEP_SECONDS._sum
            before = done.get()
            await until(lambda: done.get() > before, "rounds are done")
            failures = failures_by_task["upkeep"]
            with network.half_open("down"):
                await until(lambda: failures_by_task["upkeep"] >= failures + 2, "rounds are given up")
            before = done.get()
            await until(lambda: done.get() > before, "rounds are done again")
        finally:
            await upkeep.stop()
