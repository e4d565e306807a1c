"""Measures a bare binary COPY of the same fixes as rows: the highest rate of PostgreSQL alone."""

import asyncio
import subprocess
import time
from pathlib import Path

import msgspec

from bench.ingest import database
from bench.ingest.options import IngestOptions

# Columns and types of the view `fix`, so that a row holds the same data as a fix.
_TABLE = """
DROP TABLE IF EXISTS bare;
CREATE TABLE bare (
    tenant_id int4, device_id int8, fixed_at timestamptz, latitude float8 NOT NULL, longitude float8 NOT NULL,
    accuracy float4, altitude float4, heading float4, speed float4, received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, device_id, fixed_at)
);
CHECKPOINT;
"""
_BATCH_FIXES = 50


async def prepare(options: IngestOptions, folder: Path) -> list[memoryview]:
    """Generates COPY streams of 5,000 rows in the order of the batches, before the clock starts."""
    path = folder / "rows"
    command = [
        str(options.loadgen), "rows", "--out", str(path), "--devices", str(options.devices),
        "--batch-size", str(_BATCH_FIXES), "--batches", str(options.copy_fixes // _BATCH_FIXES),
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    whole, streams, start = memoryview(path.read_bytes()), [], 0
    path.unlink()
    for size_bytes in msgspec.json.decode(done.stdout)["stream_bytes"]:
        streams.append(whole[start : start + size_bytes])
        start += size_bytes
    return streams


async def measure(dsn: str, streams: list[memoryview]) -> dict[str, float]:
    """Copies one stream after the other, each in its own transaction, over one connection."""
    async with database.connect(dsn) as bench:
        await bench.connection.execute(_TABLE)
        started = time.perf_counter()
        for stream in streams:
            await bench.connection.copy_to_table("bare", source=stream, format="binary")
        secs = time.perf_counter() - started
        rows = await bench.connection.fetchval("SELECT count(*) FROM bare")
        size_bytes = await bench.connection.fetchval("SELECT pg_total_relation_size('bare')")
        await bench.connection.execute("DROP TABLE bare")
    return {"fixes_per_sec": rows / secs, "bytes_per_fix": size_bytes / rows, "secs": secs}
