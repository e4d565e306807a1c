"""Several nodes with several workers on one database and one Valkey, behind nginx; and a watcher on every worker."""

from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .client import Client, Socket
from .nginx import Nginx, nginx
from .process import Server
from .tenants import Tenant
from .valkey import Valkey, valkey

WORKERS = 2
MOST_TRIES = 200  # the kernel gives a connection to one of two workers; 200 times the same does not happen


@dataclass
class Fleet:
    """Everything that runs."""

    dsn: str
    nodes: list[Server]
    valkey: Valkey
    edge: Nginx
    arguments: tuple[str, ...]

    def restart(self, number: int) -> None:
        """Starts a node that ended, at the same address."""
        self.nodes[number].close()
        self.nodes[number] = Server(*self.arguments, port=self.nodes[number].port).start()


@contextmanager
def fleet(dsn: str, *, nodes: int = 2) -> Iterator[Fleet]:
    """Nodes for the time of a block. They are started side by side: most of a start is waiting."""
    with ExitStack() as stack, ThreadPoolExecutor(nodes) as threads:
        server = stack.enter_context(valkey())
        arguments = ("--database-url", dsn, "--redis-url", server.url, "--workers", str(WORKERS))
        started = [Server(*arguments) for _ in range(nodes)]
        stack.callback(lambda: [node.close() for node in started])
        for starting in [threads.submit(node.start) for node in started]:
            starting.result()
        edge = stack.enter_context(nginx(*(node.port for node in started)))
        yield Fleet(dsn, started, server, edge, arguments)


@dataclass
class Watcher:
    """A dispatcher that keeps what it is shown, as the console does."""

    socket: Socket
    epoch: str
    seen: dict[str, Any] = field(default_factory=dict)
    resyncs: int = 0

    def take(self, frame: dict[str, Any]) -> None:
        """Follows the feed's protocol."""
        if frame["type"] == "resync":
            self.resyncs += 1
        elif frame["type"] == "snapshot":
            self.epoch, self.seen = frame["epoch"], {}
        for position in frame.get("positions", ()):
            self.seen[position["device"]] = position["timestamp"]

    async def follow(self) -> None:
        """Reads until the connection ends."""
        async for message in self.socket.raw:
            self.take(message.json())


async def open_watcher(client: Client, tenant: Tenant, stack: AsyncExitStack) -> Watcher:
    """A watcher that has its snapshot."""
    socket = await stack.enter_async_context(client.socket("/ws/dispatch", token=tenant.dispatcher))
    await socket.send({"type": "watch"})
    snapshot = await socket.receive_type("snapshot")
    watcher = Watcher(socket, snapshot["epoch"])
    watcher.take(snapshot)
    return watcher


@asynccontextmanager
async def watchers(clients: Sequence[Client], tenant: Tenant, *, each: int = WORKERS) -> AsyncIterator[list[Watcher]]:
    """One watcher on every worker of the nodes; workers are told apart by their epochs."""
    async with AsyncExitStack() as stack:
        found: list[Watcher] = []
        for client in clients:
            epochs: set[str] = set()
            for _ in range(MOST_TRIES):
                async with AsyncExitStack() as trying:
                    watcher = await open_watcher(client, tenant, trying)
                    if watcher.epoch not in epochs:
                        epochs.add(watcher.epoch)
                        found.append(watcher)
                        stack.push_async_exit(trying.pop_all())
                if len(epochs) == each:
                    break
            assert len(epochs) == each, epochs
        yield found
