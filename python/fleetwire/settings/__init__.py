"""Every setting, with its unit, default and reason. The environment is read once, at start, by `Settings.from_env`.

A field `port` is the variable `FLEETWIRE_PORT`. Defaults stand here and nowhere else.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from fleetwire.access.client_address import Network, parse_networks
from fleetwire.access.limits.limit_rules import LimitOverride, parse_overrides
from fleetwire.errors import ConfigError
from fleetwire.settings import otlp_endpoint, redis_url
from fleetwire.settings.otlp_endpoint import STANDARD_VARIABLE

PREFIX = "FLEETWIRE_"
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&\s]*)", re.IGNORECASE)
CONNECT_TIMEOUT_SECS = 5.0
INGEST_CONNECTIONS = 2  # device look-ups and partitions must not wait for a commit
SECRETS = frozenset({"database_url", "redis_url", "otlp_endpoint"})
"""Settings whose value may hold a password: shown with it hidden."""


def _setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
    or_from: str | None = None,
) -> Any:
    bounds = {"at_least": at_least, "at_most": at_most, "one_of": one_of}
    return field(default=default, metadata={"doc": doc, "or_from": or_from, **bounds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one server."""

    data_dir: Path = _setting(Path("fleetwire-data"), "Folder of the embedded PostgreSQL and what else must survive.")
    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8000, "TCP port to listen on.", at_least=1)
    workers: int = _setting(1, "Processes that serve. More than one needs Redis.", at_least=1)
    database_url: str | None = _setting(None, "DSN of a PostgreSQL 15 to 18; without it the embedded one is used.")
    redis_url: str | None = _setting(None, "Redis or Valkey 7.2+, for more than one worker or node.")
    redis_prefix: str = _setting("fleetwire", "Begins every name in Redis; servers of one database share it.")
    relay_queue_bytes: int = _setting(
        32 * 1024 * 1024,
        "Bytes that may wait to be sent to other workers; beyond, they read the database.",
        at_least=1024,
    )
    respawn: bool = _setting(True, "Whether a worker that dies is started again; otherwise the server stops.")  # noqa: FBT003
    runtime_dir: Path | None = _setting(None, "Folder of the workers' own sockets; without it, a temporary one.")
    log_level: str = _setting("info", "Least level that is logged.", one_of=("debug", "info", "warning", "error"))
    log_format: str = _setting("console", "Logs for people or for machines.", one_of=("console", "json"))
    log_requests: bool = _setting(False, "Whether every request is logged, and not only slow ones.")  # noqa: FBT003
    allowed_origins: str = _setting(
        "", "Comma-separated origins (https://host) whose pages may use cookie and API, too."
    )
    tls_proxy: bool = _setting(False, "Whether a proxy in front speaks TLS to every client: Secure, HSTS.")  # noqa: FBT003
    slow_request_secs: float = _setting(1.0, "A request that takes longer is logged; 0 logs none.", at_least=0)
    slow_query_secs: float = _setting(1.0, "A statement that takes longer is logged with its plan; 0 none.", at_least=0)
    otlp_endpoint: str | None = _setting(
        None, "Address of an OTLP/HTTP receiver that gets spans; without it none are made.", or_from=STANDARD_VARIABLE
    )
    otlp_ratio: float = _setting(
        1.0, "Part of the requests that are traced, where the client does not say.", at_least=0, at_most=1
    )
    otlp_queue_spans: int = _setting(8_192, "Spans that may wait to be sent; beyond, they are dropped.", at_least=1)

    trusted_proxies: str = _setting("", "Comma-separated addresses and networks of proxies whose header is believed.")
    proxy_header: str = _setting(
        "x-forwarded-for", "In which header they name the client.", one_of=("x-forwarded-for", "forwarded")
    )
    limits: str = _setting(
        "", "Limits that differ: name=units/seconds[:burst] or name=off, name@tenant for one tenant."
    )
    limit_keys: int = _setting(
        250_000, "Clients that are counted at once; 48 bytes each.", at_least=1, at_most=100_000_000
    )
    limit_reply_secs: float = _setting(
        0.5, "How long a request waits for Redis before its worker decides.", at_least=0.01
    )

    map_style: str | None = _setting(None, "Address of a MapLibre style for the console, instead of the outline.")
    map_overlay: Path | None = _setting(None, "GeoJSON file of lines that the console draws beneath the vehicles.")

    max_fixes: int = _setting(10_000, "Fixes a batch may hold; part of the wire contract.", at_least=1)
    max_body_bytes: int = _setting(8 * 1024 * 1024, "Bytes a request body may hold, decompressed.", at_least=1024)
    head_timeout_secs: float = _setting(
        30.0, "Time a connection has to send the whole head of its next request, from its opening on.", at_least=1
    )
    body_timeout_secs: float = _setting(30.0, "Time a sender has to send its body.", at_least=1)
    write_timeout_secs: float = _setting(30.0, "Time a client has to take a piece of its answer.", at_least=2)
    worker_streams: int = _setting(64, "Downloads of tracks under way at once in a worker.", at_least=1)
    tenant_streams: int = _setting(32, "The same of one tenant.", at_least=1)
    user_streams: int = _setting(8, "The same of one user.", at_least=1)
    future_secs: int = _setting(600, "How far a device's clock may be ahead of ours.", at_least=0, at_most=86_400)

    writer_connections: int = _setting(2, "Connections that commit groups.", at_least=1)
    app_connections: int = _setting(10, "Connections for everything else, at most.", at_least=1)
    max_connections: int = _setting(50, "Connections of one worker in all, at most.", at_least=5)
    connect_timeout_secs: float = _setting(
        CONNECT_TIMEOUT_SECS, "Longest that one connection may take to open.", at_least=0.1
    )
    idle_connection_secs: float = _setting(
        30.0, "A spare connection idle for so long is closed; 0 keeps it.", at_least=0
    )
    group_fixes: int = _setting(50_000, "Fixes one transaction stores, at most.", at_least=1)
    intake_batches: int = _setting(4_096, "Batches that may wait for a commit; beyond, senders get 503.", at_least=1)
    intake_fixes: int = _setting(1_000_000, "Fixes that may wait for a commit; beyond, senders get 503.", at_least=1)
    intake_secs: float = _setting(2.0, "How long a batch may expect to wait for its commit.", at_least=0.1)
    spool: Path | None = _setting(
        None, "Folder in which batches wait while they cannot be stored; the workers share it."
    )
    spool_max_bytes: int = _setting(
        1024**3, "Bytes the spool may hold, of all workers; beyond, senders get 503.", at_least=1024**2
    )
    spool_after_secs: float = _setting(2.0, "With a spool, how long a group is tried before it goes there.")
    commit_give_up_secs: float = _setting(10.0, "How long a group is tried before its senders get 503.", at_least=1)
    statement_timeout_secs: float = _setting(30.0, "Longest a statement may run.", at_least=1)

    upkeep_secs: float = _setting(60.0, "Pause between rounds of merging and retention; 0 does none.", at_least=0)
    merge_after_secs: float = _setting(7200.0, "How long after its end an hour's segments are merged.", at_least=0)
    retention_days: int = _setting(
        0,
        "Days that fixes are kept, where the tenant does not say otherwise; 0 keeps them for ever, so that archives of "
        "any age can be replayed. Older fixes are refused as timestamp_expired.",
        at_least=0,
    )

    cache_entries: int = _setting(10_000, "Answers that are kept, at most.", at_least=1)
    cache_bytes: int = _setting(64 * 1024 * 1024, "Bytes that kept answers may take in memory.", at_least=1024)

    feed_tick_millis: int = _setting(250, "Longest a movement waits before watchers are told.", at_least=10)
    feed_heartbeat_secs: float = _setting(30.0, "A feed without movement says at this pace that it lives.", at_least=1)
    feed_send_secs: float = _setting(10.0, "A watcher that takes longer for one frame is closed as slow.", at_least=0.1)
    feed_moving_mps: float = _setting(
        0.8, "From this speed on a device is moving; parked phones report up to half of it.", at_least=0.01, at_most=300
    )
    feed_offline_secs: float = _setting(120.0, "A device whose newest fix is older is offline.", at_least=1)
    feed_first_message_secs: float = _setting(1.0, "A socket silent for this long watches its whole tenant.")
    max_sockets: int = _setting(20_000, "WebSockets one worker holds, drivers and watchers together.", at_least=1)
    socket_message_bytes: int = _setting(1024 * 1024, "Bytes of one message on a socket.", at_least=1024)
    socket_inflight_batches: int = _setting(16, "Batches of one socket under way; beyond, it is not read.", at_least=1)
    socket_auth_secs: float = _setting(10.0, "Time a socket opened without a credential has to send one.", at_least=0.1)
    socket_recheck_secs: float = _setting(
        60.0, "In this time the credential of every open socket is looked up once more.", at_least=0.1
    )
    tenant_sockets: int = _setting(16_000, "WebSockets of one tenant that a worker holds.", at_least=1)
    user_sockets: int = _setting(2_000, "WebSockets of one user or device that a worker holds.", at_least=1)
    unauthenticated_sockets: int = _setting(
        0, "Sockets of a worker that may be without a credential at once; up to 96 MiB each.", at_least=0
    )
    socket_messages_per_sec: float = _setting(1000.0, "Messages a socket may send on average.", at_least=1)
    socket_messages_burst: int = _setting(2000, "Messages a socket may send at once.", at_least=1)
    socket_rate_violations: int = _setting(100, "Messages refused by rate before the socket is closed.", at_least=1)
    stop_sockets_per_sec: float = _setting(
        2000.0, "Sockets told of a stop in a second; quicker if that takes too much of the drain.", at_least=1
    )
    event_window: int = _setting(256, "Events a socket may leave unacknowledged before it gets no more.", at_least=1)
    event_ack_secs: float = _setting(30.0, "An acknowledging watcher that is later than this is closed.", at_least=0.1)
    event_retention_days: int = _setting(30, "Days that events are kept; 0 keeps them for ever.", at_least=0)
    order_retention_days: int = _setting(
        90,
        "Days after which a device that was given to an order, and not again since, is taken from it; 0: never.",
        at_least=0,
    )
    audit_retention_days: int = _setting(
        400, "Days that the audit log is kept: a year and a month. 0 keeps it for ever.", at_least=0
    )
    old_snapshot_secs: float = _setting(
        600.0, "Age from which `/health` says that an old snapshot keeps row versions from being removed.", at_least=0
    )
    drain_secs: float = _setting(5.0, "Time that sockets and held batches have at a stop.", at_least=0)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> "Settings":
        """Settings from the environment, with `given` (where not None) before it.

        Raises:
            ConfigError: one or more settings cannot work; all are named.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        faults: list[str] = []
        for spec in fields(cls):
            if given.get(spec.name) is not None:
                values[spec.name] = given[spec.name]
            elif (named := _named_in(environ, spec)) is not None:
                try:
                    values[spec.name] = _parse(spec, environ[named])
                except ValueError:
                    faults.append(f"{named}={environ[named]!r} is not {_kind(spec)}")
        settings = cls(**values)
        faults += settings.faults()
        if faults:
            raise ConfigError("; ".join(faults))
        return settings

    def faults(self) -> list[str]:
        """Everything that cannot work, each a sentence that names the variable."""
        found = list(_field_faults(self))
        if self.workers > 1 and self.redis_url is None:
            found.append(
                f"{variable('workers')}={self.workers}: several workers tell each other of movements through Redis or "
                "Valkey; start one and name it with --redis-url redis://HOST:6379, or start one worker"
            )
        if self.connections > self.max_connections:
            found.append(
                f"{variable('max_connections')}={self.max_connections}: a worker opens up to {self.connections}; lower "
                f"{variable('app_connections')} or {variable('writer_connections')}, or raise the limit"
            )
        if self.redis_url is not None:
            try:
                redis_url.parse(self.redis_url)
            except ConfigError as error:
                found.append(f"{variable('redis_url')}: {error}")
        found += _text_fault(self, "trusted_proxies", parse_networks) + _text_fault(self, "limits", parse_overrides)
        if self.otlp_endpoint is not None and (fault := otlp_endpoint.fault(self.otlp_endpoint)) is not None:
            found.append(f"{variable('otlp_endpoint')}: {fault}")
        if self.map_overlay is not None and not self.map_overlay.is_file():
            found.append(f"{variable('map_overlay')}={self.map_overlay}: there is no such file")
        return found

    @property
    def origins(self) -> frozenset[str]:
        """`allowed_origins` one by one."""
        return frozenset(origin.strip().lower().rstrip("/") for origin in self.allowed_origins.split(",")) - {""}

    @property
    def connections(self) -> int:
        """Connections a worker opens at most: its pools, one for backfill, one that listens, one for the upkeep."""
        return self.writer_connections + self.app_connections + INGEST_CONNECTIONS + 3

    @property
    def proxies(self) -> tuple[Network, ...]:
        """`trusted_proxies` one by one."""
        return parse_networks(self.trusted_proxies)

    @property
    def limit_overrides(self) -> list[LimitOverride]:
        """`limits` one by one."""
        return parse_overrides(self.limits)

    @property
    def patience_secs(self) -> float:
        """How long a group is tried before its senders are answered otherwise."""
        return self.commit_give_up_secs if self.spool is None else self.spool_after_secs

    def to_env(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process."""
        return {variable(name): str(value) for name, value in asdict(self).items() if value is not None}

    def table(self, environ: Mapping[str, str]) -> list[dict[str, Any]]:
        """A row per setting: name, variable, value, default, source and meaning. Passwords are hidden."""
        return [
            {
                "name": spec.name,
                "variable": variable(spec.name),
                "value": _shown(spec.name, getattr(self, spec.name)),
                "default": _shown(spec.name, spec.default),
                "source": "default" if _named_in(environ, spec) is None else "environment",
                "doc": spec.metadata["doc"],
            }
            for spec in fields(self)
        ]


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _named_in(environ: Mapping[str, str], spec: Field[Any]) -> str | None:
    """The variable that sets a setting here: ours, or one that other programs read as well."""
    names = (variable(spec.name), spec.metadata["or_from"])
    return next((name for name in names if name is not None and name in environ), None)


def _kind(spec: Field[Any]) -> str:
    kinds = {int: "a whole number", float: "a number", Path: "a path", str: "text", bool: "true or false"}
    return kinds[_type_of(spec)]


def _type_of(spec: Field[Any]) -> type:
    hint = get_type_hints(Settings)[spec.name]
    kind: type = next(arg for arg in get_args(hint) or (hint,) if arg is not type(None))
    return kind


def _parse(spec: Field[Any], text: str) -> Any:
    # An empty variable unsets an optional setting: compose files can only leave a value empty, not absent.
    if text == "" and spec.default is None:
        return None
    kind = _type_of(spec)
    return _parse_switch(text) if kind is bool else kind(text)


def _parse_switch(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError(text)
    return text.lower() in {"true", "1", "yes"}


def _field_faults(settings: Settings) -> Iterator[str]:
    for spec in fields(settings):
        value, choices = getattr(settings, spec.name), spec.metadata["one_of"]
        least, most = spec.metadata["at_least"], spec.metadata["at_most"]
        if least is not None and value < least:
            yield f"{variable(spec.name)}={value} must be at least {least}"
        if most is not None and value > most:
            yield f"{variable(spec.name)}={value} must be at most {most}"
        if choices and value not in choices:
            yield f"{variable(spec.name)}={value!r} must be one of {', '.join(choices)}"


def _text_fault(settings: Settings, name: str, parse: Callable[[str], object]) -> list[str]:
    try:
        parse(getattr(settings, name))
    except ValueError as error:
        return [f"{variable(name)}: {error}"]
    return []


def _shown(name: str, value: Any) -> Any:
    if name in SECRETS and value:
        return _without_password(value)
    return str(value) if isinstance(value, Path) else value


def _without_password(address: str) -> str:
    """An address or a keyword DSN with its password hidden, before the host as well as among the parameters."""
    scheme, _, rest = address.partition("://")
    if "@" in rest:
        user, _, host = rest.rpartition("@")
        address = f"{scheme}://{user.partition(':')[0]}:***@{host}"
    return _PASSWORD.sub(r"\1***", address)
