"""`/openapi.json` tells of every route what goes in and what comes out; its examples hold against its schemas, and the
server's answers against its examples.
"""

import asyncio
import json
import re

import aiohttp
import jsonschema
import pytest

from fleetwire.web.openapi.examples import ROUTES
from harness.client import Client
from harness.fixes import fix
from harness.process import ROOT
from harness.tenants import PASSWORD

PROBLEM = "application/problem+json"
HOT = ("post", "/api/driver/location")
EVERY = sorted(ROUTES.keys() | {HOT})
# Members that are there only with several workers.
SOMETIMES = {"relay"}


@pytest.fixture(scope="module")
def document(server):
    async def fetch():
        async with aiohttp.ClientSession() as session:
            return (await Client(server.url, session).get("/openapi.json")).json

    return asyncio.run(fetch())


@pytest.fixture
def operation(document, route):
    method, path = route
    return document["paths"][path][method]


def contents(operation):
    """Each media type of the request and of the answers: where, its name, what is said of it."""
    for media, told in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", media, told
    for status, response in operation["responses"].items():
        for media, told in response.get("content", {}).items():
            yield status, media, told


def test_the_examples_are_of_the_routes_that_there_are(document):
    described = {(method, path): told for path, item in document["paths"].items() for method, told in item.items()}
    assert sorted(described) == EVERY
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for operation in described.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("route", EVERY, ids=" ".join)
def test_a_route_is_described_whole(operation):
    assert operation["summary"]
    assert operation["description"]
    assert "Raises:" not in operation["description"]
    assert all(parameter["description"] for parameter in operation.get("parameters", ()))
    assert all(response["description"] for response in operation["responses"].values())
    for where, media, told in contents(operation):
        assert "example" in told, (where, media)
        assert told["schema"], (where, media)
    successes = [status for status in operation["responses"] if status.startswith("2")]
    assert successes
    for status in successes:
        assert (status == "204") == ("content" not in operation["responses"][status])


@pytest.mark.parametrize("route", EVERY, ids=" ".join)
def test_examples_hold_against_their_schemas(document, operation):
    for where, media, told in contents(operation):
        schema = {**told["schema"], "components": document["components"]}
        try:
            jsonschema.validate(told["example"], schema)
        except jsonschema.ValidationError as error:
            pytest.fail(f"{where} {media}: {error.message}")


@pytest.mark.parametrize("route", EVERY, ids=" ".join)
def test_every_refusal_is_a_problem_with_codes_that_the_protocol_knows(route, operation):
    named = set(re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")))
    refusals = {status: told for status, told in operation["responses"].items() if status >= "400"}
    for status, told in refusals.items():
        example = told["content"][PROBLEM]["example"] if PROBLEM in told["content"] else None
        if example is None:
            assert (status, route[1]) in {("503", "/readyz"), ("503", "/health")}
            continue
        assert example["status"] == int(status)
        assert example["code"] in named
        if route != HOT:
            assert set(re.findall(r"`([a-z_]+)`", told["description"])) <= named
    assert "500" in refusals
    if operation.get("security") != []:
        assert {"401", "403"} <= refusals.keys()
    if route[1] != "/livez":
        assert "429" in refusals


def shape(value):
    """Names of members; of what is in a list, the first stands for all."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items() if name not in SOMETIMES}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


def members(value):
    """The names at the top, and those of the entries of a page."""
    top = set(shape(value))
    entries = next((each for each in value.values() if isinstance(each, list) and each), None)
    return top, set(shape(entries[0])) if entries and isinstance(entries[0], dict) else set()


async def test_the_servers_answers_have_the_members_of_the_examples(client, tenant, document):
    admin = await tenant.issue_async("user", "ada", "admin")
    await asyncio.to_thread(tenant.user, "sam", "dispatcher")
    await client.send({"device": "truck-7", "fixes": [fix()]}, token=tenant.ingest)
    login = (await client.login(tenant.name, "sam", PASSWORD)).json
    json_type = {"Content-Type": "application/json"}

    async def compare(method, path, answer, *, success="200"):
        responses = document["paths"][path][method]["responses"]
        assert str(answer.status) == success, (path, answer.body)
        media = answer.headers["Content-Type"].partition(";")[0]
        told = responses[success]["content"][media]
        if media.endswith("json"):
            assert members(answer.json) == members(told["example"]), path
            jsonschema.validate(answer.json, {**told["schema"], "components": document["components"]})

    for path in ("/api/events", "/api/tokens", "/api/users"):
        body = json.dumps(ROUTES["post", path].body).encode()
        answer = await client.request("POST", path, token=admin, body=body, headers=json_type)
        await compare("post", path, answer, success="201")
    again = await client.request(
        "POST", "/api/events", token=admin, body=json.dumps(ROUTES["post", "/api/events"].body).encode()
    )
    await compare("post", "/api/events", again)
    changed = await client.request(
        "PATCH", "/api/users/ruth", token=admin, body=b'{"status":"disabled"}', headers=json_type
    )
    await compare("patch", "/api/users/{name}", changed)
    renewal = json.dumps({"refresh_token": login["refresh_token"]}).encode()
    renewed = await client.request("POST", "/api/session/renew", body=renewal, headers=json_type)
    await compare("post", "/api/session/renew", renewed)
    token = renewed.json["token"]
    for path in sorted(path for method, path in ROUTES if method == "get" and path != "/api/console/overlay"):
        filled = path.replace("/users/{name}", "/users/sam").replace("{name}", "truck-7")
        asker = token if path in {"/api/session", "/api/sessions"} else admin
        await compare("get", path, await client.get(filled, token=asker))
    for form in ("gpx", "csv"):
        track = await client.get("/api/devices/truck-7/track", token=admin, format=form)
        await compare("get", "/api/devices/{name}/track", track)
    for path, code in (("/api/users/nobody/sessions", "user_unknown"), ("/api/devices/none/track", "device_unknown")):
        answer = await client.get(path, token=admin)
        template = re.sub(r"/(nobody|none)/", "/{name}/", path)
        told = document["paths"][template]["get"]["responses"]["404"]
        assert f"`{code}`" in told["description"]
        assert answer.refusal == (404, code)
        schema = {**told["content"][PROBLEM]["schema"], "components": document["components"]}
        jsonschema.validate(answer.json, schema)
        assert answer.json.keys() == told["content"][PROBLEM]["example"].keys()
