"""Workers hear each other over every form of Redis or Valkey, and notice what they did not hear."""

import asyncio
import signal
import struct
import time
from contextlib import asynccontextmanager, contextmanager

import pytest
import redis

from fleetwire.live.relay.message import MessageKind
from fleetwire.live.relay.relay import Relay
from fleetwire.redis.signing import RedisSigner
from fleetwire.settings import Settings
from harness.valkey import valkey, valkey_cluster, valkey_sentinel

LIMIT_SECS = 20
TENANT_ID = 7
KEY = b"k" * 32


class Worker:
    """One end of the relay, and what it was told."""

    def __init__(self, url, **settings):
        self.relay = Relay(Settings(redis_url=url, **settings), RedisSigner([KEY]))
        self.heard = []
        self.missed = []
        for kind in (MessageKind.MOVED, MessageKind.EVENT, MessageKind.INVALIDATE, MessageKind.REVOKED):
            self.relay.on(kind, lambda tenant_id, payload, kind=kind: self.heard.append((kind, tenant_id, payload)))
        self.relay.on_missed(lambda since_millis, why: self.missed.append(why))


@asynccontextmanager
async def workers(url, count=2, **settings):
    made = [Worker(url, **settings) for _ in range(count)]
    try:
        for worker in made:
            await worker.relay.start()
        yield made
    finally:
        for worker in made:
            await worker.relay.stop()


async def until(holds, what):
    deadline = time.monotonic() + LIMIT_SECS
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@contextmanager
def backend(form):
    if form == "cluster":
        with valkey_cluster() as nodes:
            yield f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[2].port}"
    elif form == "sentinel":
        with valkey_sentinel() as (_, _, sentinel):
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/fleet"
    elif form == "password":
        with valkey("--requirepass", "se:cret") as server:
            yield server.url.replace("//", "//:se%3Acret@") + "/3"
    else:
        with valkey() as server:
            yield server.url


@pytest.mark.parametrize("form", ["single", "password", "sentinel", "cluster"])
async def test_what_one_worker_says_every_other_hears_once(form):
    with backend(form) as url:
        async with workers(url, 3) as (first, *others):
            assert [each.relay.state for each in (first, *others)] == ["connected"] * 3
            said = [
                (kind, tenant_id, b"%d" % tenant_id)
                for tenant_id in range(40)
                for kind in (MessageKind.MOVED, MessageKind.EVENT)
            ]
            for message in said:
                first.relay.publish(*message)
            for other in others:
                await until(lambda other=other: len(other.heard) >= len(said), f"heard {len(other.heard)}")
                # In order within a tenant; a Cluster has channels of its own.
                assert sorted(other.heard, key=lambda message: message[1]) == said
            assert first.heard == []
            assert all("gap" not in each.missed for each in others)


async def test_servers_of_other_names_are_not_heard():
    with valkey() as server:
        async with workers(server.url) as (first, second), workers(server.url, 1, redis_prefix="other") as (stranger,):
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"x")
            await until(lambda: second.heard, "heard")
            assert stranger.heard == []
            assert stranger.relay.report()["workers"] == 1


async def test_what_does_not_fit_into_the_queue_is_noticed():
    with valkey() as server:
        async with workers(server.url, relay_queue_bytes=4096) as (first, second):
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"before")
            await until(lambda: second.heard, "heard")
            second.missed.clear()
            first.relay.publish(MessageKind.MOVED, TENANT_ID, bytes(5000))
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: len(second.heard) == 2, "heard again")
            assert [payload for _, _, payload in second.heard] == [b"before", b"after"]
            assert second.missed == ["gap"]


async def test_a_heartbeat_shows_that_the_last_message_was_dropped():
    with valkey() as server:
        async with workers(server.url, relay_queue_bytes=4096) as (first, second):
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"before")
            await until(lambda: second.heard, "heard")
            second.missed.clear()
            first.relay.publish(MessageKind.MOVED, TENANT_ID, bytes(5000))
            await until(lambda: second.missed, "missed")
            assert second.missed == ["gap"]


async def test_a_worker_that_dies_is_missed_and_one_that_leaves_is_not():
    with valkey() as server:
        async with workers(server.url) as (first, second):
            leaving, dying = Worker(server.url), Worker(server.url)
            for each in (leaving, dying):
                await each.relay.start()
            await until(
                lambda: first.relay.report()["workers"] == second.relay.report()["workers"] == 4, "all are heard"
            )
            for each in (first, second):
                each.missed.clear()
            await leaving.relay.stop()
            await until(lambda: first.relay.report()["workers"] == 3, "it left")
            assert (first.missed, second.missed) == ([], [])
            await dying.relay._beating.stop()
            await until(lambda: first.missed and second.missed, "it died")
            assert (first.missed, second.missed) == (["lost"], ["lost"])
            await dying.relay.stop()


@pytest.mark.parametrize("away_secs", [1, 6])
async def test_a_server_that_was_away_is_found_again(away_secs):
    with valkey() as server:
        async with workers(server.url) as (first, second):
            for each in (first, second):
                each.missed.clear()
            server.kill()
            await until(lambda: first.relay.state == second.relay.state == "disconnected", "both notice")
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"into the void")
            await asyncio.sleep(away_secs)
            assert 0 < first.relay.report()["next_try_secs"] <= 5
            server.start()
            await until(lambda: first.relay.connections == second.relay.connections == 2, "both are back")
            assert first.missed[0] == second.missed[0] == "outage"
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: second.heard, "heard")
            assert second.heard == [(MessageKind.EVENT, TENANT_ID, b"after")]


async def test_a_server_that_freezes_is_noticed_and_found_again():
    with valkey() as server:
        async with workers(server.url) as (first, second):
            server.send(signal.SIGSTOP)
            try:
                await until(lambda: first.relay.state == second.relay.state == "disconnected", "both notice")
            finally:
                server.send(signal.SIGCONT)
            await until(lambda: first.relay.connections == second.relay.connections == 2, "both are back")
            second.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: first.heard, "heard")


async def test_subscribers_that_the_server_cuts_come_back():
    with valkey() as server:
        async with workers(server.url) as (first, second):
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: first.relay.connections == second.relay.connections == 2, "both are back")
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: second.heard, "heard")


async def test_a_worker_that_starts_without_a_server_is_heard_later_and_not_trusted():
    with valkey() as server:
        server.kill()
        late = Worker(server.url)
        await late.relay.start()
        assert late.relay.state == "disconnected"
        late.relay.publish(MessageKind.EVENT, TENANT_ID, b"into the void")
        server.start()
        async with workers(server.url, 1) as (other,):
            await until(lambda: late.relay.state == "connected", "connected")
            late.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: other.heard, "heard")
            assert "unknown" in other.missed
        await late.relay.stop()


async def test_after_a_failover_the_new_master_carries_the_relay():
    with valkey_sentinel() as (master, _, sentinel):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/fleet"
        async with workers(url) as (first, second):
            master.kill()
            await until(lambda: first.relay.connections == second.relay.connections == 2, "both are back")
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: second.heard, "heard")


async def test_a_shard_of_a_cluster_that_dies_and_comes_back():
    with valkey_cluster() as nodes:
        url = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        async with workers(f"redis+cluster://{url}") as (first, second):
            nodes[1].kill()
            await until(lambda: first.relay.state == second.relay.state == "disconnected", "both notice")
            nodes[1].start()
            await until(lambda: first.relay.connections == second.relay.connections == 2, "both are back")
            for tenant_id in range(40):
                first.relay.publish(MessageKind.EVENT, tenant_id, b"after")
            await until(lambda: len(second.heard) == 40, "heard")


async def test_what_cannot_be_read_is_refused_and_counts_as_missed():
    with valkey() as server:
        async with workers(server.url) as (first, second):
            for each in (first, second):
                each.missed.clear()
            for message in (b"", b"\x01", b"\xff" * 40):
                server_client(server).publish("fleetwire:relay", message)
            # A kind of a later release, signed as the others are.
            header = struct.pack(">BB8sIQiQ", 2, 200, b"neighbor", 1, 0, TENANT_ID, int(time.time() * 1000))
            signature = RedisSigner([KEY]).sign(b"relay", b"fleetwire:relay", header, b"")
            server_client(server).publish("fleetwire:relay", header + signature)
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"after")
            await until(lambda: second.heard, "heard")
            assert second.heard == [(MessageKind.EVENT, TENANT_ID, b"after")]
            assert second.missed.count("gap") == 3


def server_client(server):
    return redis.Redis(port=server.port, single_connection_client=True)


async def test_a_listener_that_fails_does_not_end_the_connection():
    with valkey() as server:
        async with workers(server.url) as (first, second):
            second.missed.clear()
            second.relay.on(MessageKind.EVENT, lambda tenant_id, payload: 1 // 0)
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"one")
            first.relay.publish(MessageKind.EVENT, TENANT_ID, b"two")
            await until(lambda: len(second.heard) == 2, "heard")
            assert second.relay.state == "connected"
            assert second.missed.count("gap") == 2
