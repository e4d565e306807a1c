"""Spans as a receiver of OTLP gets them: of requests, of groups, of statements; and what happens when it does not."""

import asyncio
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from fleetwire.errors import ConfigError
from fleetwire.settings import Settings
from harness.client import Client
from harness.fixes import fix
from harness.process import Server, environment, run
from harness.spans import receiving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER_KIND = 2


def traceparent(*, sampled=True):
    return {"traceparent": f"00-{TRACE}-{PARENT}-{int(sampled):02}"}


@asynccontextmanager
async def traced(dsn, session, receiver, **settings):
    server = Server("--database-url", dsn, "--otlp-endpoint", receiver.url, settings=settings)
    try:
        await asyncio.to_thread(server.start)
        yield Client(server.url, session), server
        assert await asyncio.to_thread(server.stop) == 0
        assert server.faults() == []
    finally:
        await asyncio.to_thread(server.close)


async def test_requests_groups_and_statements_are_spans(module_database, session, tenant):
    settings = {"FLEETWIRE_LOG_REQUESTS": "yes"}
    async with receiving() as receiver, traced(module_database, session, receiver, **settings) as (client, server):
        batch = {"device": "van", "fixes": [fix()]}
        asked = {**traceparent(), "X-Request-Id": "proxy-4711-abc"}
        assert (await client.send(batch, token=tenant.ingest, headers=asked)).receipt == (1, 0, {})
        sent = await receiver.until(lambda span: span.name == "POST /api/driver/location")
        assert (sent.trace_id, sent.parent_id, sent.kind) == (TRACE, PARENT, SERVER_KIND)
        assert sent.attributes == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "http.route": "/api/driver/location",
            "url.scheme": "http",
            "fleetwire.request_id": "proxy-4711-abc",
            "fleetwire.tenant": tenant.name,
        }
        assert sent.resource["service.name"] == "fleetwire"
        lines = [json.loads(line) for line in server.log().splitlines() if "A request was answered." in line]
        assert [line["trace_id"] for line in lines if line["request_id"] == "proxy-4711-abc"] == [TRACE]
        group = await receiver.until(lambda span: (TRACE, sent.span_id) in span.links)
        assert (group.name, group.parent_id) == ("store group", "")
        assert group.attributes == {"fleetwire.batches": 1, "fleetwire.fixes": 1}
        assert group.trace_id != TRACE
        store = await receiver.until(lambda span: span.name == "ingest.store_group")
        assert (store.trace_id, store.parent_id) == (group.trace_id, group.span_id)
        assert group.start_nanos <= store.start_nanos <= store.end_nanos

        await client.request("GET", "/api/devices/van/track", token=tenant.dispatcher)
        read = await receiver.until(lambda span: span.name == "GET /api/devices/{name}/track")
        page = await receiver.until(lambda span: span.name == "track.track_page")
        assert (page.trace_id, page.parent_id) == (read.trace_id, read.span_id)
        assert page.attributes == {"db.system.name": "postgresql", "db.query.summary": "track.track_page"}

        # Whose request it is, is said as well when the credential is remembered.
        await client.request("GET", "/api/session", token=tenant.dispatcher)
        again = await receiver.until(lambda span: span.name == "GET /api/session")
        assert again.attributes["fleetwire.tenant"] == tenant.name


async def test_what_a_client_makes_up_is_in_no_name_of_a_span(module_database, session):
    async with receiving() as receiver, traced(module_database, session, receiver) as (client, _):
        await client.get("/no/such/page")
        await client.request("BREW", "/livez", headers={"traceparent": "00-zz-1-01"})
        assert (await client.get("/api/live", token="fwu_" + "A" * 43)).status == 401
        unknown = await receiver.until(lambda span: span.attributes.get("http.response.status_code") == 404)
        # Where the console is built, its files are a route.
        assert unknown.name in {"GET", "GET /{file_path}"}
        odd = await receiver.until(lambda span: span.attributes.get("http.request.method") == "_OTHER")
        assert odd.parent_id == ""
        refused = await receiver.until(lambda span: span.attributes.get("http.response.status_code") == 401)
        assert "fleetwire.tenant" not in refused.attributes
        assert not refused.is_error
        assert not [span for span in receiver.spans if "such" in str(span) or "BREW" in str(span)]


async def test_a_ratio_leaves_out_what_no_client_asked_for(module_database, session, tenant):
    async with (
        receiving() as receiver,
        traced(module_database, session, receiver, FLEETWIRE_OTLP_RATIO="0") as (client, _),
    ):
        for number in range(20):
            await client.send({"device": f"van-{number}", "fixes": [fix()]}, token=tenant.ingest)
        await client.request("GET", "/livez", headers=traceparent(sampled=False))
        await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest, headers=traceparent())
        group = await receiver.until(lambda span: span.name == "store group")
        assert [trace_id for trace_id, _ in group.links] == [TRACE]
        await receiver.until(lambda span: span.trace_id == TRACE)
        assert {span.trace_id for span in receiver.spans} == {TRACE, group.trace_id}


async def test_a_receiver_that_hangs_holds_up_nobody(module_database, session, tenant):
    admin = await tenant.issue_async("user", "ada", "admin")
    async with receiving() as receiver:
        receiver.is_silent = True
        settings = {"FLEETWIRE_OTLP_QUEUE_SPANS": "10", "FLEETWIRE_DRAIN_SECS": "1"}
        async with traced(module_database, session, receiver, **settings) as (client, _):
            async with asyncio.timeout(30):
                while not receiver.asked:
                    assert (await client.get("/livez")).status == 200
                    await asyncio.sleep(0.05)
            for _ in range(30):
                assert (await client.get("/livez")).status == 200
            text = (await client.get("/metrics", token=admin)).body.decode()
            dropped = re.search(r'^fleetwire_tracing_spans_total{outcome="dropped"} (\d+)', text, re.MULTILINE)
            assert int(dropped.group(1)) >= 20
            # Leaving the block stops the server: what waits for the receiver does not hold that up either.


async def test_spans_that_no_receiver_takes_are_counted(module_database, session, tenant):
    admin = await tenant.issue_async("user", "ada", "admin")
    async with receiving() as receiver:
        pass  # Nobody listens any more.
    async with traced(module_database, session, receiver, OTEL_EXPORTER_OTLP_TIMEOUT="1") as (client, server):
        async with asyncio.timeout(30):
            while 'fleetwire_tracing_spans_total{outcome="failed"} 0' in (
                text := (await client.get("/metrics", token=admin)).body.decode()
            ):
                await asyncio.sleep(0.1)
        assert 'outcome="failed"' in text
        assert "The receiver of spans does not take them." in server.log()


def test_without_the_packages_the_start_says_what_to_install(tmp_path, module_database):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = run(
        "serve",
        "--database-url",
        module_database,
        "--otlp-endpoint",
        "http://127.0.0.1:1",
        settings={"PYTHONPATH": path},
    )
    assert done.returncode == 2
    assert "pip install 'fleetwire[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_off_is_not_even_imported():
    code = "import sys, fleetwire.app; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0


def test_an_address_that_is_none_is_refused_and_a_password_in_one_is_not_shown():
    for wrong in ("localhost:4318", "grpc://me:secret@collector:4317", "http://"):
        with pytest.raises(ConfigError, match="FLEETWIRE_OTLP_ENDPOINT: this is no address") as refusal:
            Settings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": wrong})
        assert "secret" not in str(refusal.value)
    environ = {"FLEETWIRE_OTLP_ENDPOINT": "http://me:secret@collector:4318"}
    assert "secret" not in str(Settings.from_env(environ).table(environ))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "http://a:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "FLEETWIRE_OTLP_ENDPOINT": "http://b:4318"}, "http://b:4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "FLEETWIRE_OTLP_ENDPOINT": ""}, None),
    ],
)
def test_our_variable_comes_before_the_one_of_all_programs(environ, expected):
    assert Settings.from_env(environ).otlp_endpoint == expected
