"""Conventional service: FastAPI, pydantic models, SQLAlchemy core on asyncpg, a row per fix, one transaction per batch.

It gives the same guarantees: a receipt means committed, a fix is stored once, the live position only moves forward.

    uvicorn --factory bench.rivals.fastapi_rows:create_app
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import FastAPI, Header, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

TENANT_ID = 1
POOL_CONNECTIONS = 10  # the worker is the bottleneck: 5 and 40 give the same rate

metadata = sa.MetaData()
_MEASURES = ("accuracy", "altitude", "heading", "speed")


def _columns() -> list[sa.Column[float]]:
    return [sa.Column("latitude", sa.Double, nullable=False), sa.Column("longitude", sa.Double, nullable=False)] + [
        sa.Column(name, sa.REAL) for name in _MEASURES
    ]


device = sa.Table(
    "device",
    metadata,
    sa.Column("device_id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)
fix = sa.Table(
    "fix",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("fixed_at", sa.TIMESTAMP(timezone=True), primary_key=True),
    *_columns(),
    sa.Column("received_at", sa.TIMESTAMP(timezone=True), nullable=False),
)
live = sa.Table(
    "live",
    metadata,
    sa.Column("tenant_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("fixed_at", sa.TIMESTAMP(timezone=True), nullable=False),
    *_columns(),
    sa.Column("received_at", sa.TIMESTAMP(timezone=True), nullable=False),
    postgresql_with={"fillfactor": 50},
)


# Built once: per request they would cost more than everything else.
INSERT = insert(fix).on_conflict_do_nothing().returning(fix.c.fixed_at)
_upsert = insert(live)
MOVE = _upsert.on_conflict_do_update(
    index_elements=["tenant_id", "device_id"],
    set_={column.name: _upsert.excluded[column.name] for column in live.c if not column.primary_key},
    where=live.c.fixed_at < _upsert.excluded.fixed_at,
)


TRACK = (
    sa.select(fix.c.fixed_at, fix.c.latitude, fix.c.longitude, *(fix.c[name] for name in _MEASURES))
    .join(device, device.c.device_id == fix.c.device_id)
    .where(fix.c.tenant_id == TENANT_ID, device.c.name == sa.bindparam("name"))
    .where(fix.c.fixed_at.between(sa.bindparam("begin"), sa.bindparam("end")))
    .order_by(fix.c.fixed_at)
)


class FixModel(BaseModel):
    """Position report."""

    timestamp: Annotated[int, Field(ge=946_684_800_000)]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    accuracy: Annotated[float, Field(ge=0)] | None = None
    altitude: float | None = None
    heading: Annotated[float, Field(ge=0, le=360)] | None = None
    speed: Annotated[float, Field(ge=0)] | None = None

    def row(self, device_id: int, received_at: datetime) -> dict[str, object]:
        """Converts the fix to a row of `fix`."""
        return {
            "tenant_id": TENANT_ID,
            "device_id": device_id,
            "fixed_at": datetime.fromtimestamp(self.timestamp / 1000, UTC),
            "latitude": self.latitude,
            "longitude": self.longitude,
            "accuracy": self.accuracy,
            "altitude": self.altitude,
            "heading": self.heading,
            "speed": self.speed,
            "received_at": received_at,
        }


class BatchModel(BaseModel):
    """Request body."""

    device: str
    fixes: Annotated[list[FixModel], Field(min_length=1, max_length=10_000)]


class ReceiptModel(BaseModel):
    """Response body."""

    stored: int
    duplicate: int
    rejected: list[str] = []


class RivalStore:
    """Writes to the database and caches device ids."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._device_ids: dict[str, int] = {}

    async def write(self, batch: BatchModel) -> ReceiptModel:
        """Stores a batch in one transaction."""
        received_at = datetime.now(UTC)
        async with self._engine.begin() as connection:
            device_id = self._device_ids.get(batch.device) or await self._device_id(connection, batch.device)
            rows = [each.row(device_id, received_at) for each in batch.fixes]
            inserted = await connection.execute(INSERT, rows)
            stored = len(inserted.all())
            newest = max(batch.fixes, key=lambda each: each.timestamp)
            await connection.execute(MOVE, newest.row(device_id, received_at))
        self._device_ids[batch.device] = device_id
        return ReceiptModel(stored=stored, duplicate=len(rows) - stored)

    async def track(self, name: str, begin: datetime, end: datetime) -> AsyncIterator[str]:
        """Streams the fixes of a device as GeoJSON."""
        async with self._engine.connect() as connection:
            rows = await connection.stream(TRACK, {"name": name, "begin": begin, "end": end})
            yield '{"type":"FeatureCollection","features":['
            separator = ""
            async for part in rows.partitions(1_000):
                yield separator + ",".join(json.dumps(_feature(name, row)) for row in part)
                separator = ","
        yield "]}"

    async def _device_id(self, connection: AsyncConnection, name: str) -> int:
        created = insert(device).values(name=name).on_conflict_do_nothing().returning(device.c.device_id)
        device_id = (await connection.execute(created)).scalar()
        if device_id is None:
            device_id = (await connection.execute(sa.select(device.c.device_id).filter_by(name=name))).scalar_one()
        return int(device_id)


def _feature(name: str, row: sa.Row[Any]) -> dict[str, object]:
    measures = {measure: getattr(row, measure) for measure in _MEASURES if getattr(row, measure) is not None}
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [row.longitude, row.latitude]},
        "properties": {"device": name, "timestamp": round(row.fixed_at.timestamp() * 1000), **measures},
    }


def create_app() -> FastAPI:
    """Creates the application, configured by RIVAL_DATABASE_URL and RIVAL_TOKEN."""
    engine = create_async_engine(os.environ["RIVAL_DATABASE_URL"], pool_size=POOL_CONNECTIONS, max_overflow=0)
    token, store = os.environ["RIVAL_TOKEN"], RivalStore(engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/api/driver/location")
    async def receive(batch: BatchModel, authorization: Annotated[str, Header()]) -> ReceiptModel:
        if authorization != f"Bearer {token}":
            raise HTTPException(401)
        return await store.write(batch)

    @app.get("/api/devices/{name}/track")
    async def track(
        name: str, from_: Annotated[int, Query(alias="from")], to: int, authorization: Annotated[str, Header()]
    ) -> StreamingResponse:
        if authorization != f"Bearer {token}":
            raise HTTPException(401)
        begin, end = (datetime.fromtimestamp(millis / 1000, UTC) for millis in (from_, to))
        return StreamingResponse(store.track(name, begin, end), media_type="application/geo+json")

    return app
