"""What operators ask: `/livez`, `/readyz`, `/health`, `/metrics`, and the figures of sockets and store."""

import os
from typing import Any

import asyncpg
from litestar import Response, Router, get
from litestar.di import NamedDependency

from fleetwire.access.identity.guards import requires
from fleetwire.cache.responses import ResponseCache
from fleetwire.fanout.sockets.sockets import Sockets
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pools import Pools
from fleetwire.runtime import supervisor
from fleetwire.server import worker_control
from fleetwire.settings import Settings
from fleetwire.store.writer import Writer
from fleetwire.telemetry import metrics, metrics_merge
from fleetwire.telemetry.health import Health, answers

_NO_STORE = {"cache-control": "no-store"}


@get("/livez", public=True, summary="Is the process alive", security=[])
async def livez() -> dict[str, str]:
    """Answers as long as the worker's event loop runs; asks nobody else."""
    return {"status": "alive"}


@get("/readyz", public=True, summary="May traffic come", security=[])
async def readyz(
    health: NamedDependency[Health], app_pool: NamedDependency[asyncpg.Pool], relay: NamedDependency[Any]
) -> Response[dict[str, str]]:
    """200 when batches can be stored; 503 while the database is away, a background task is stuck, and during a stop."""
    status: str = health.phase
    stuck = supervisor.stuck_names()
    if status == "ready" and not await answers(app_pool):
        status = "database_unavailable"
    elif status == "ready" and stuck:
        status = "background_task_stuck"
    # Without the relay a worker stores and shows what is sent to it, so traffic may come.
    relay_state = {} if relay is None else {"relay": relay.state}
    named = {"tasks": ", ".join(stuck)} if stuck else {}
    return Response(
        {"status": status, **relay_state, **named}, status_code=200 if status == "ready" else 503, headers=_NO_STORE
    )


@get("/health", public=True, summary="How it goes", security=[])
async def show_health(
    health: NamedDependency[Health],
    app_pool: NamedDependency[asyncpg.Pool],
    sockets: NamedDependency[Sockets],
    writer: NamedDependency[Writer],
    relay: NamedDependency[Any],
) -> Response[dict[str, Any]]:
    """Database, relay, sockets, held batches, memory and age of this worker; nothing of any tenant.

    503 when this worker cannot store or a background task is stuck; without its relay it is degraded and answers 200.
    """
    report = await health.report(
        app_pool,
        sockets=sockets.counts(),
        held_batches=writer.held_batches,
        relay=None if relay is None else relay.report(),
    )
    serves = report["phase"] == "ready" and report["database"]["ok"] and not report["stuck_tasks"]
    return Response(report, status_code=200 if serves else 503, headers=_NO_STORE)


@get("/metrics", guards=[requires("operate")], summary="Prometheus metrics")
async def prometheus(settings: NamedDependency[Settings], packed_metrics: NamedDependency[bytes]) -> Response[bytes]:
    """The counters of all workers of this node, added up.

    They count for all tenants together, hence the permission `operate`.
    """
    folder = settings.runtime_dir
    workers = {} if folder is None else await worker_control.ask_all(folder, b"metrics")
    # Itself in any case, also where it has no socket to be asked by.
    workers[os.getpid()] = packed_metrics
    return Response(metrics_merge.render(workers.values()), headers={"content-type": metrics.CONTENT_TYPE})


@get("/api/db/stats", guards=[requires("operate")], summary="How the database's pools are used")
async def database_stats(
    settings: NamedDependency[Settings], pools: NamedDependency[Pools], listener: NamedDependency[Listener]
) -> Response[dict[str, Any]]:
    """Connections of this worker by pool: in use, idle, open, and how many there may be; slow statements so far."""
    stats = {
        "pools": pools.stats(),
        "max_connections": settings.max_connections,
        "connect_timeout_secs": settings.connect_timeout_secs,
        "idle_connection_secs": settings.idle_connection_secs,
        "slow_query_secs": settings.slow_query_secs,
        "listens_for_revocations": listener.is_listening,
    }
    return Response(stats, headers=_NO_STORE)


@get("/api/cache/stats", guards=[requires("operate")], summary="Figures of the response cache")
async def cache_stats(responses: NamedDependency[ResponseCache]) -> Response[dict[str, Any]]:
    """Hits, misses, entries, bytes and the second level, of the worker that answers. They count for all tenants."""
    return Response(responses.stats(), headers=_NO_STORE)


ops_router = Router(
    "/", route_handlers=[livez, readyz, show_health, prometheus, database_stats, cache_stats], tags=["Operations"]
)
