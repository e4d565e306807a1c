"""What stands in `deploy/` is what the tests run, and names nothing that is not there."""

import asyncio
import configparser
import contextlib
import json
import re
import tomllib

import pytest
import redis
import yaml

from fleetwire.settings import Settings
from fleetwire.telemetry.metrics import REGISTRY
from harness.client import Client
from harness.fixes import fix
from harness.nginx import Nginx, variables
from harness.process import ROOT, serving
from harness.valkey import valkey

DEPLOY = ROOT / "deploy"
PASSWORD = "s3cret"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_nginx_takes_the_configuration(scratch_dir):
    edge = Nginx(scratch_dir, [9, 10])
    checked = edge.check()
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr


def test_compose_fills_in_what_nginx_needs(compose):
    service = compose["services"]["nginx"]
    assert variables() <= service["environment"].keys()
    assert "./deploy/nginx.conf:/etc/nginx/templates/nginx.conf.template:ro" in service["volumes"]


def test_compose_starts_two_nodes_that_can_have_several_workers(compose):
    services = compose["services"]
    assert {"postgres", "valkey", "nginx", "node-1", "node-2", "prometheus", "grafana"} == services.keys()
    for name in ("node-1", "node-2"):
        environment = services[name]["environment"]
        known = {f"FLEETWIRE_{each.upper()}" for each in Settings.__dataclass_fields__}
        assert environment.keys() <= known
        settings = Settings.from_env({key: re.sub(r"\$\{.*?\}", "x", value) for key, value in environment.items()})
        assert settings.workers == 2
        assert f"server {name}:8000 " in services["nginx"]["environment"]["FLEETWIRE_NODES"]
    for service in services.values():
        for mount in service.get("volumes", []):
            if mount.startswith("./deploy/"):
                assert (ROOT / mount.split(":")[0]).is_file(), mount


async def test_the_nodes_user_of_valkey_may_do_what_they_do_and_nothing_else(compose, module_database, session, tenant):
    """The command line of the shipped Valkey, and two servers with the shipped address on it."""
    command = [re.sub(r"\$\{.*?\}", PASSWORD, word) for word in compose["services"]["valkey"]["command"]]
    address = compose["services"]["node-1"]["environment"]["FLEETWIRE_REDIS_URL"]
    with valkey(*command[command.index("--maxmemory") :]) as store:
        url = re.sub(r"\$\{.*?\}", PASSWORD, address).replace("valkey:6379", f"127.0.0.1:{store.port}")
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(serving("--database-url", module_database, "--redis-url", url)) for _ in range(2)
            ]
            one, other = (Client(server.url, session) for server in servers)
            assert (await one.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)).status == 200
            assert (await one.login(tenant.name, "nobody", "a wrong password")).status == 401
            await asyncio.sleep(1.5)  # Limits are reported, movements told.
            assert len((await other.get("/api/live", token=tenant.dispatcher)).json["features"]) == 1
            assert (await one.get("/api/devices", token=tenant.dispatcher)).headers["X-Cache"] == "MISS"
            assert (await other.get("/api/devices", token=tenant.dispatcher)).headers["X-Cache"] == "HIT"
            for client in (one, other):
                lines = (await client.get("/metrics", token=tenant.admin)).body.decode().splitlines()
                values = dict(line.rpartition(" ")[::2] for line in lines if not line.startswith("#"))
                assert float(values["fleetwire_relay_connected_workers"]) == 1
                assert float(values['fleetwire_cache_events_total{event="second_level_failure"}']) == 0
                assert float(values["fleetwire_limits_shared_failures_total"]) == 0
        with redis.Redis(port=store.port) as stranger:
            assert stranger.ping()
            for words in (("GET", "fleetwire:x"), ("PUBLISH", "fleetwire:relay", "x"), ("KEYS", "*"), ("FLUSHALL",)):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    stranger.execute_command(*words)
        with redis.Redis(port=store.port, username="fleetwire", password=PASSWORD) as node:
            for words in (
                ("GET", "other"),
                ("PUBLISH", "other", "x"),
                ("KEYS", "*"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
            ):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    node.execute_command(*words)


def test_prometheus_asks_every_node(compose):
    scraping = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["node-1:8000", "node-2:8000"]}]
    mounts = [mount.rsplit(":", 2)[1] for mount in compose["services"]["prometheus"]["volumes"]]
    assert job["authorization"]["credentials_file"] in mounts


def test_the_dashboard_shows_metrics_that_are_exported():
    exported = {sample for family in REGISTRY.collect() for sample in _samples(family)}
    panels = json.loads((DEPLOY / "grafana/fleetwire.json").read_text())["panels"]
    assert len(panels) > 10
    shown = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"fleetwire_\w+", target["expr"])
    }
    assert shown
    assert shown <= exported, shown - exported
    for name in ("source.yml", "provider.yml"):
        assert yaml.safe_load((DEPLOY / "grafana" / name).read_text())["apiVersion"] == 1


def _samples(family):
    """The names under which a family is scraped, also while it has no labels yet."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
    return [family.name + suffix for suffix in suffixes]


def test_the_units_name_settings_and_each_other():
    units = {}
    for path in (DEPLOY / "systemd").iterdir():
        # A key may stand there several times.
        unit = configparser.RawConfigParser(strict=False, delimiters=["="])
        unit.optionxform = str
        unit.read_string(path.read_text())
        units[path.name] = unit
    service = units["fleetwire.service"]["Service"]
    assert service["ExecStart"].endswith("fleetwire serve")
    assert int(service["TimeoutStopSec"].rstrip("s")) > Settings().drain_secs + 10
    named = re.findall(r"FLEETWIRE_\w+(?==)", (DEPLOY / "systemd/fleetwire.service").read_text())
    assert {name.removeprefix("FLEETWIRE_").lower() for name in named} <= Settings.__dataclass_fields__.keys()
    assert units["fleetwire-alive.service"]["Unit"]["OnFailure"] in units
    assert units["fleetwire-alive.service"]["Unit"]["Requisite"] in units


def test_the_image_is_built_from_files_that_are_there():
    copied = []
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            copied += line.split()[1:-1]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert "USER fleetwire" in (DEPLOY / "Dockerfile").read_text()


def test_nothing_gets_into_the_image_that_it_is_not_built_from():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    needed = {"Cargo.toml", "Cargo.lock", "pyproject.toml", "python", "requirements.lock", "console", *members}
    assert needed <= allowed
    for name in ("demo.json", ".env", "certificate", "metrics-token", "fleetwire-data", ".git", "tests"):
        assert name not in allowed
    assert {"**/.env*", "**/*.so", "python/fleetwire/console_dist"} <= set(lines)
