"""The console in a real browser: log in, and see vehicles move on the map."""

import asyncio
import json
import os
import shutil
import warnings
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright

from fleetwire.web.console import FOLDER
from harness.client import Client
from harness.fixes import fix, now_millis
from harness.process import Server
from harness.tenants import PASSWORD, Tenant

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("FLEETWIRE_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# Without a GPU the map is drawn in software; the rest keeps the browser from asking its maker's hosts.
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page(server: Server) -> AsyncIterator[Page]:
    """A page in headless Chromium that may not leave the server's host."""
    if CHROMIUM is None or not (FOLDER / "index.html").is_file():
        missing = "Chromium" if CHROMIUM is None else "the built console"
        warnings.simplefilter("default")
        pytest.skip(f"*** THE BROWSER TEST IS SKIPPED: {missing} is missing. ***")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1200, "height": 800})
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        yield page
        await browser.close()
        assert {host for host in hosts if host} <= {urlsplit(server.url).netloc}, "the page asked another host"


async def _log_in(page: Page, server: Server, tenant: Tenant, password: str) -> None:
    await page.goto(server.url)
    await page.fill("input[name=tenant]", tenant.name)
    await page.fill("input[name=user]", "doris")
    await page.fill("input[name=password]", password)
    await page.keyboard.press("Enter")


async def _drive(client: Client, tenant: Tenant, steps: int) -> None:
    for step in range(steps):
        for number in range(5):
            at = fix(now_millis(), latitude=48.1 + number / 100, longitude=11.5 + step / 1000, heading=90.0, speed=12.0)
            answer = await client.send({"device": f"truck-{number}", "fixes": [at]}, token=tenant.ingest)
            assert answer.status == 200
        await asyncio.sleep(0.1)


async def _shown(page: Page, name: str) -> str | None:
    return await page.get_attribute("html", f"data-{name}")


async def test_a_dispatcher_logs_in_and_sees_vehicles_move(
    page: Page, server: Server, tenant: Tenant, client: Client
) -> None:
    await asyncio.to_thread(tenant.user, "doris", "dispatcher")
    await _drive(client, tenant, 1)
    await _log_in(page, server, tenant, PASSWORD)
    await page.wait_for_selector("html[data-connection=live][data-vehicles='5']", state="attached", timeout=60_000)
    before = int(await _shown(page, "moves") or 0)
    await _drive(client, tenant, 5)
    async with asyncio.timeout(20):
        while int(await _shown(page, "moves") or 0) < before + 5:
            await asyncio.sleep(0.1)
    await page.click('.row[data-device="truck-3"]')
    await page.wait_for_selector("#track-summary[data-state=shown]", timeout=20_000)
    assert await page.inner_text("#detail-name") == "truck-3"


async def test_a_wrong_password_is_told_and_lets_nobody_in(page: Page, server: Server, tenant: Tenant) -> None:
    await asyncio.to_thread(tenant.user, "doris", "dispatcher")
    await _log_in(page, server, tenant, "not the password at all")
    await page.get_by_text("wrong", exact=False).first.wait_for(timeout=10_000)
    assert await _shown(page, "connection") != "live"


async def test_the_api_is_described_from_our_own_host(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/api-docs")
    await page.get_by_text("/api/driver/location").first.wait_for(timeout=20_000)


async def test_an_emergency_is_on_top_until_somebody_takes_it(
    page: Page, server: Server, tenant: Tenant, client: Client
) -> None:
    await asyncio.to_thread(tenant.user, "doris", "dispatcher")
    van = await tenant.issue_async("device", "van")

    async def publish(kind: str, payload: dict[str, str]) -> None:
        body = json.dumps({"room": "dispatch", "kind": kind, "payload": payload}).encode()
        assert (await client.request("POST", "/api/events", token=van, body=body)).status == 201

    await publish("emergency", {"emergency": "medical", "note": "<b>at the ramp</b>"})
    await _log_in(page, server, tenant, PASSWORD)
    await page.wait_for_selector("#event-rows li.open", timeout=60_000)
    await publish("message", {"text": "traffic jam"})
    await page.wait_for_selector("#event-rows li:nth-child(2)", timeout=60_000)
    rows = await page.locator("#event-rows li > span").all_inner_texts()
    assert rows == ["Emergency medical raised: <b>at the ramp</b>", "traffic jam"]
    await page.click("#event-rows li.open button")
    await page.wait_for_selector("#event-rows li.open", state="detached", timeout=60_000)
    events = (await client.get("/api/events", token=tenant.dispatcher)).json["events"]
    assert events[-1]["payload"] == {"emergency": "medical", "state": "acknowledged", "of": 1}
    assert events[-1]["actor"] == "user:doris"


async def test_a_user_changes_the_password_in_the_page(
    page: Page, server: Server, tenant: Tenant, client: Client
) -> None:
    await asyncio.to_thread(tenant.user, "doris", "dispatcher")
    await _log_in(page, server, tenant, PASSWORD)
    await page.click("#password-open")
    await page.fill("#password-old", PASSWORD)
    await page.fill("#password-new", "123456789012")
    await page.keyboard.press("Enter")
    await page.get_by_text("too easy to guess").wait_for(timeout=20_000)
    await page.fill("#password-new", "a wet stone by the river")
    await page.keyboard.press("Enter")
    await page.get_by_text("Your password is changed").wait_for(timeout=20_000)
    await page.click("#password-close")
    assert not await page.is_visible("#password-dialog")
    assert (await client.login(tenant.name, "doris", "a wet stone by the river")).status == 200
    assert await page.evaluate("document.cookie") == ""
