"""Serves the console: the built page, and what it has to know before anyone is logged in."""

from pathlib import Path
from typing import Any

from litestar import Response, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.response import File
from litestar.static_files import create_static_files_router

from fleetwire import __version__
from fleetwire.access.guards import requires
from fleetwire.engine import Engine
from fleetwire.errors import Problem
from fleetwire.settings import Settings

FOLDER = Path(__file__).parent / "console_dist"
OVERLAY_PATH = "/api/console/overlay"


def security_headers(settings: Settings) -> dict[str, str]:
    """What pages and their scripts are sent with: no other host, no inline script.

    What somebody else smuggles into a page does not run here then.
    A map style that the operator set may bring tiles and glyphs from hosts that only it names.
    """
    tiles = "" if settings.map_style is None else " https: " + settings.map_style.partition("?")[0]
    return {
        "content-security-policy": (
            f"default-src 'self'; script-src 'self'; worker-src 'self' blob:; img-src 'self' data: blob:{tiles}; "
            f"style-src 'self' 'unsafe-inline'; connect-src 'self'{tiles}; "
            "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }


@get("/api/console", public=True, summary="What the console must know", security=[])
async def console_facts(engine: NamedDependency[Engine]) -> dict[str, Any]:
    """The map style and overlay that the operator set, and the version."""
    settings = engine.settings
    return {
        "version": __version__,
        "map_style": settings.map_style,
        "overlay": None if settings.map_overlay is None else OVERLAY_PATH,
    }


@get(OVERLAY_PATH, guards=[requires("watch")], summary="The operator's map overlay")
async def overlay(engine: NamedDependency[Engine]) -> File:
    """The GeoJSON file given with `--map-overlay`.

    Raises:
        Problem: 404 `overlay_unset`.
    """
    path = engine.settings.map_overlay
    if path is None:
        raise Problem("overlay_unset", "No map overlay is configured.", status=404)
    return File(path, media_type="application/geo+json", content_disposition_type="inline")


def console_routes() -> list[Any]:
    """The page and its facts; without a built page, a sentence that says how to build it."""
    facts = Router("/", route_handlers=[console_facts, overlay], tags=["Console"])
    if not (FOLDER / "index.html").is_file():
        return [facts, _unbuilt]
    page = create_static_files_router(
        "/",
        directories=[FOLDER],
        html_mode=True,
        include_in_schema=False,
        opt={"public": True},
    )
    assets = create_static_files_router(
        "/assets",
        directories=[FOLDER / "assets"],
        include_in_schema=False,
        opt={"public": True},
        # Their names carry a hash of their content.
        cache_control=CacheControlHeader(max_age=365 * 24 * 3600, immutable=True),
    )
    return [facts, assets, page]


@get("/", public=True, include_in_schema=False)
async def _unbuilt() -> Response[str]:
    return Response("The console is not built: run `make build`.\n", status_code=503, media_type="text/plain")
