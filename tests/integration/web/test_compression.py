"""Compressed answers: what the client takes is what it gets, kept answers and streams alike, and no secrets."""

import asyncio
import gzip
import json
import re

import aiohttp
import brotli
import pytest
import zstandard

from harness.fixes import track
from harness.tenants import PASSWORD

READ = {
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "gzip": gzip.decompress,
    None: bytes,
}
TAKEN = [
    (None, None), ("", None), ("br", "br"), ("zstd", "zstd"), ("gzip", "gzip"), ("x-gzip", "gzip"), ("*", "br"),
    ("gzip, deflate, br, zstd", "br"), ("gzip;q=1.0, br;q=0.5", "gzip"), ("zstd;q=0.9, br;q=0.8", "zstd"),
    ("gzip;q=0", None), ("br;q=0, zstd;q=0, *;q=0.5", "gzip"), ("*;q=0, gzip", "gzip"), ("identity, br;q=0.5", None),
    ("identity;q=0, gzip", "gzip"), ("deflate", None), ("GZIP;Q=0.3", "gzip"), ("gzip;q=nonsense", None),
    ("br;q=0.001, gzip;q=0", "br"),
]  # fmt: skip
REFUSED = ["identity;q=0", "*;q=0", "identity;q=0, deflate"]


@pytest.fixture
async def van(client, tenant):
    answer = await client.send({"device": "van", "fixes": track(2_000)}, token=tenant.ingest)
    assert answer.receipt == (2_000, 0, {})
    for number in range(40):
        await client.send({"device": f"van-{number}", "fixes": track(1)}, token=tenant.ingest)


@pytest.fixture
def ask(server, tenant):
    """A request whose answer is not decompressed on the way."""

    async def ask(path, accept, *, token=tenant.dispatcher, method="GET", body=None):
        headers = {"Content-Type": "application/json"} if body else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if accept is not None:
            headers["Accept-Encoding"] = accept
        async with (
            aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session,
            session.request(method, server.url + path, headers=headers, data=body) as response,
        ):
            return response.status, response.headers, await response.read()

    return ask


PATHS = ["/api/live", "/api/devices", "/api/devices/van/track", "/openapi.json"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_way_of_asking_gets_what_it_takes(ask, van, path):
    track_path = "?from=0" if "track" in path else ""
    _, plain_headers, plain = await ask(path + track_path, None)
    assert "Content-Encoding" not in plain_headers
    assert len(plain) > 2_000
    for accept, expected in TAKEN:
        status, headers, body = await ask(path + track_path, accept)
        assert (status, headers.get("Content-Encoding")) == (200, expected), accept
        assert "accept-encoding" in headers["Vary"]
        assert headers["Content-Type"] == plain_headers["Content-Type"]
        assert json.loads(READ[expected](body)) == json.loads(plain)
        if expected is not None:
            assert len(body) < len(plain) * 0.4
        if "Content-Length" in headers:
            assert int(headers["Content-Length"]) == len(body)
    for accept in REFUSED:
        status, _, body = await ask(path + track_path, accept)
        assert (status, json.loads(body)["code"]) == (406, "encoding_unacceptable"), accept


async def test_small_answers_stay_plain_unless_plain_is_refused(ask, tenant):
    for path in ("/api/session", "/livez", "/api/live"):
        _, headers, body = await ask(path, "br, gzip")
        assert "Content-Encoding" not in headers
        assert json.loads(body)
        _, headers, body = await ask(path, "gzip, identity;q=0")
        assert headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(body))


async def test_compressed_and_plain_are_the_same_answer_to_a_condition(ask, van, client, tenant):
    _, headers, _ = await ask("/api/devices", "br")
    again = await client.request(
        "GET", "/api/devices", token=tenant.dispatcher, headers={"If-None-Match": headers["ETag"]}
    )
    assert again.status == 304


async def test_what_holds_a_secret_or_answers_a_batch_is_never_compressed(ask, tenant, client):
    await asyncio.to_thread(tenant.user, "sam", "viewer")
    form = json.dumps({"tenant": tenant.name, "user": "sam", "password": PASSWORD})
    status, headers, _ = await ask("/api/login", "br, gzip, identity;q=0", token=None, method="POST", body=form)
    assert status == 200
    assert "Content-Encoding" not in headers
    batch = json.dumps({"device": "van", "fixes": [{"timestamp": 1, "latitude": 0, "longitude": 0}] * 500})
    status, headers, body = await ask(
        "/api/driver/location", "br, gzip", token=tenant.ingest, method="POST", body=batch
    )
    assert (status, len(body) > 1024) == (200, True)
    assert "Content-Encoding" not in headers


async def test_the_consoles_files_are_kept_compressed(ask, client):
    _, headers, page = await ask("/", "identity", token=None)
    if headers["Content-Type"].startswith("text/plain"):
        pytest.skip("the console is not built")
    assert headers["Cache-Control"] == "no-cache"
    (asset, *_) = re.findall(r"/assets/[^\"]+[.]js", page.decode())
    status, plain_headers, plain = await ask(asset, None, token=None)
    assert status == 200, plain[:500]
    assert plain_headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for encoding in ("br", "zstd", "gzip"):
        _, headers, body = await ask(asset, encoding, token=None)
        assert headers["Content-Encoding"] == encoding
        assert READ[encoding](body) == plain
        assert headers["X-Cache"] in {"HIT", "STALE"}
