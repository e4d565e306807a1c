"""HEAD: as GET, but for the body; also of what is kept, what is refused and what is streamed."""

import pytest

from harness.fixes import fix, track


@pytest.mark.parametrize("path", ["/", "/livez", "/api/live", "/api/devices", "/api/devices/van/track?format=geojson"])
async def test_head_is_get_without_the_body(client, tenant, path):
    await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)
    await client.get(path, token=tenant.dispatcher)  # so that both find the same kept answer
    get = await client.get(path, token=tenant.dispatcher)
    head = await client.request("HEAD", path, token=tenant.dispatcher)
    assert (head.status, head.body) == (200, b"")
    assert get.body
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers.get(name) == get.headers.get(name), name


async def test_head_is_refused_as_get_is(client, tenant):
    assert (await client.request("HEAD", "/api/live")).status == 401
    assert (await client.request("HEAD", "/api/live", token=tenant.ingest)).status == 403
    assert (await client.request("HEAD", "/no/such/page")).status == 404
    assert (await client.request("HEAD", "/api/login")).headers["Allow"] == "OPTIONS, POST"
    assert "HEAD" in (await client.request("POST", "/livez")).headers["Allow"].split(", ")


async def test_head_is_counted_as_itself(client, tenant):
    admin = await tenant.issue_async("user", "ada", "admin")
    await client.request("HEAD", "/livez")
    assert 'method="HEAD",route="/livez",status="200"' in (await client.get("/metrics", token=admin)).body.decode()


async def test_the_head_of_a_stream_does_not_run_the_stream(client, tenant):
    await client.send({"device": "van", "fixes": track(5_000)}, token=tenant.ingest)
    path = "/api/devices/van/track?format=csv"
    for _ in range(20):
        head = await client.request("HEAD", path, token=tenant.dispatcher)
        assert (head.status, head.body) == (200, b"")
    get = await client.get(path, token=tenant.dispatcher)  # the connections that the streams used are free again
    assert get.body.count(b"\n") >= 5_000
