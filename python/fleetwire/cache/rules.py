"""Which routes are cached, and how: a declaration beside each handler, and the table that the front looks into.

    @get("/api/devices", guards=[requires("watch")], opt={"cache": Cached(secs=2, stale_secs=8, tags=("devices",))})

The answer comes without the handler from then on, so whatever decides about it must be in its key: the path, the query
and the scope. A handler that looks at anything else of the request (a header, the time of day) must not declare it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute

from fleetwire.access.identity.guards import PUBLIC, Requires
from fleetwire.access.identity.principal import Permission, Principal
from fleetwire.errors import ConfigError

OPTION: Final = "cache"

CacheScope: TypeAlias = Literal["everyone", "tenant", "role", "user"]
"""Whose answers are the same: everybody's, a tenant's, those of a role in a tenant, or nobody else's."""

ALL: Final = b"*"
"""The tag that every answer in the second level has."""
WHOLE_TENANT: Final = "*"
"""The tag, within its tenant, that every answer of a tenant has."""
NO_STALE: Final = 0.0
# `private`: a cache between us and the client has no say in who may see it. `no-cache`: a client may keep the answer,
# but asks each time whether it still holds; that is cheap (304), and a write is seen at once.
ASK_AGAIN: Final = "private, no-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """How one route's answers are kept."""

    secs: float
    """How long an answer is fresh."""
    stale_secs: float = NO_STALE
    """How much longer it is served while a new one is made behind."""
    scope: CacheScope = "tenant"
    tags: tuple[str, ...] = ()
    """What the answer rests on, within the tenant: `invalidate(tenant_id, tag)` drops it."""
    version: str | None = None
    """For answers from memory: from the engine and a tenant to the name of the state that they show. An answer of the
    present state is fresh however old it is; of a past one as the times above say, and not at all to a client that
    sends `Cache-Control: no-cache`."""
    unchanged_secs: float = 0.0
    """With `version`: how long an answer is kept while its state is the present one."""
    is_shared: bool = True
    """Whether it may go to the second level, where other workers find it."""
    cache_control: str = ASK_AGAIN


@dataclass(frozen=True, slots=True)
class CacheRule:
    """A declaration with what the route's guards ask for; None for a route that is open to all."""

    cached: Cached
    permission: Permission | None

    @property
    def kept_secs(self) -> float:
        """How long an answer is of any use."""
        return max(self.cached.secs + self.cached.stale_secs, self.cached.unchanged_secs)

    def key(self, path: str, query: bytes, principal: Principal | None) -> bytes:
        """What an answer is kept under. Compared whole: no two requests share a key because of a hash."""
        return b"\0".join((*_whose(self.cached.scope, principal), path.encode(), sorted_query(query)))

    def tags_of(self, principal: Principal | None) -> tuple[bytes, ...]:
        """The tags with their tenant, as the store knows them."""
        tenant_id = _tenant_of(self.cached.scope, principal)
        tags = self.cached.tags if tenant_id == 0 else (WHOLE_TENANT, *self.cached.tags)
        return tuple(full_tag(tenant_id, tag) for tag in tags)


def full_tag(tenant_id: int, tag: str) -> bytes:
    """A tag with its tenant; 0 for what belongs to everyone."""
    return b"%d:%b" % (tenant_id, tag.encode())


def _tenant_of(scope: CacheScope, principal: Principal | None) -> int:
    return 0 if principal is None or scope == "everyone" else principal.tenant_id


def _whose(scope: CacheScope, principal: Principal | None) -> tuple[bytes, ...]:
    if scope == "everyone" or principal is None:
        return (b"*",)
    tenant = b"%d" % principal.tenant_id
    if scope == "tenant":
        return (tenant,)
    if scope == "role":
        return tenant, b"role", principal.role.encode()
    # A user's tokens and sessions see the same; a credential that is no user's is a scope of its own.
    if principal.user_id is not None:
        return tenant, b"user", b"%d" % principal.user_id, principal.role.encode()
    return tenant, b"credential", principal.credential_hash.hex().encode()


def sorted_query(query: bytes) -> bytes:
    """The parameters in the order of their names; those of one name stay in theirs, since the last or first counts."""
    if b"&" not in query:
        return query
    pairs: list[bytes] = query.split(b"&")
    pairs.sort(key=_name_of)
    return b"&".join(pairs)


def _name_of(pair: bytes) -> bytes:
    return pair.partition(b"=")[0]


class CacheRules:
    """The cached routes by path. A path without parameters is found at once, the others one after the other."""

    def __init__(self, exact: Mapping[str, CacheRule | None], templates: Iterable[tuple[str, CacheRule]]) -> None:
        # None stands for a route that is not cached, so that no template takes it.
        self._exact = dict(exact)
        self._templates = [(_pattern(template), rule) for template, rule in templates]

    def is_exact(self, path: str) -> bool:
        """Whether the path is a route of its own, and not one of many that a template stands for."""
        return path in self._exact

    def find(self, path: str) -> CacheRule | None:
        """The rule of a path as it was decoded, or None if its answers are not kept."""
        if path in self._exact or not self._templates:
            return self._exact.get(path)
        return next((rule for pattern, rule in self._templates if pattern.fullmatch(path)), None)


def rules_of(api: Litestar, more: Mapping[str, Cached]) -> CacheRules:
    """Collects the declarations of all GET handlers; `more` names paths that are open to all, such as files.

    Raises:
        ConfigError: a declared route has a guard whose permission cannot be read from it, or none and is not public.
    """
    exact: dict[str, CacheRule | None] = {path: CacheRule(cached, None) for path, cached in more.items()}
    templates = []
    for route in api.routes:
        for handler in _get_handlers(route):
            rule = _rule(handler)
            if "{" not in route.path:
                exact[route.path] = rule or exact.get(route.path)
            elif rule is not None:
                templates.append((route.path, rule))
    return CacheRules(exact, templates)


def _get_handlers(route: BaseRoute) -> list[HTTPRouteHandler]:
    found = route.route_handler_map.get("GET") if isinstance(route, HTTPRoute) else None
    return [] if found is None else [found[0]]


def _rule(handler: HTTPRouteHandler) -> CacheRule | None:
    cached = handler.opt.get(OPTION)
    if cached is None:
        return None
    if handler.opt.get(PUBLIC):
        return CacheRule(cached, None)
    guards = list(handler.guards or ())
    if len(guards) != 1 or len(handler.resolve_guards()) != 1 or not isinstance(guards[0], Requires):
        raise ConfigError(f"{handler.handler_name}: a cached route has exactly one guard, made by requires().")
    return CacheRule(cached, guards[0].permission)


def _pattern(template: str) -> re.Pattern[str]:
    """`/api/devices/{name:str}` as an expression in which a parameter is one part of a path."""
    parts = re.split(r"\{[^{}]*\}", template)
    return re.compile("[^/]+".join(map(re.escape, parts)))
