"""Serves the console: the built page, and what it has to know before anyone is logged in."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.response import File
from litestar.static_files import create_static_files_router

from fleetwire import __version__
from fleetwire.access.auth import AuthServices
from fleetwire.access.identity.guards import authenticate, requires
from fleetwire.cache.rules import Cached
from fleetwire.errors import Problem
from fleetwire.settings import Settings

FOLDER = Path(__file__).parents[1] / "console_dist"
ASSETS_PATH = "/assets/"
FOR_EVER = "public, max-age=31536000, immutable"  # their names carry a hash of their content
FILE_SECS = 60.0
OVERLAY_PATH = "/api/console/overlay"


def security_headers(settings: Settings) -> dict[str, str]:
    """What pages and their scripts are sent with: no other host, no inline script.

    What somebody else smuggles into a page does not run here then.
    A map style that the operator set may bring tiles and glyphs from hosts that only it names.
    """
    tiles = "" if settings.map_style is None else " https: " + _origin_of(settings.map_style)
    return {
        "content-security-policy": (
            f"default-src 'self'; script-src 'self'; worker-src 'self' blob:; img-src 'self' data: blob:{tiles}; "
            f"style-src 'self' 'unsafe-inline'; connect-src 'self'{tiles}; "
            "frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }


@get("/api/console", public=True, summary="What the console must know", security=[])
async def console_facts(
    request: Request[Any, Any, Any], settings: NamedDependency[Settings], gate: NamedDependency[AuthServices]
) -> Response[dict[str, Any]]:
    """The map style and overlay that the operator set, and the version.

    The style is for users: its address may hold a key.
    """
    facts = {
        "version": __version__,
        "map_style": settings.map_style if await _is_known(request, gate) else None,
        "overlay": None if settings.map_overlay is None else OVERLAY_PATH,
    }
    return Response(facts, headers={"cache-control": "no-store"})


async def _is_known(request: Request[Any, Any, Any], gate: AuthServices) -> bool:
    try:
        await authenticate(request.scope, gate.credentials)
    except Problem:
        return False
    return True


def _origin_of(address: str) -> str:
    """Scheme and host of an address; the rest may hold a key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@get(OVERLAY_PATH, guards=[requires("watch")], summary="The operator's map overlay")
async def overlay(settings: NamedDependency[Settings]) -> File:
    """The GeoJSON file given with `--map-overlay`.

    Raises:
        Problem: 404 `overlay_unset`.
    """
    path = settings.map_overlay
    if path is None:
        raise Problem("overlay_unset", "No map overlay is configured.", status=404)
    return File(path, media_type="application/geo+json", content_disposition_type="inline")


def kept_files() -> dict[str, Cached]:
    """The page's files by their paths: read and compressed once, and again after a while, should they be built anew."""
    if not (FOLDER / "index.html").is_file():
        return {}
    found = {}
    for file in FOLDER.rglob("*"):
        if file.is_file():
            path = "/" + file.relative_to(FOLDER).as_posix()
            is_asset = path.startswith(ASSETS_PATH)
            found[path] = Cached(
                secs=FILE_SECS, scope="everyone", is_shared=False, cache_control=FOR_EVER if is_asset else "no-cache"
            )
    return {**found, "/": found["/index.html"]}


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
        before_request=_check_path,
        opt={"public": True},
    )
    assets = create_static_files_router(
        "/assets",
        directories=[FOLDER / "assets"],
        include_in_schema=False,
        before_request=_check_path,
        opt={"public": True},
    )
    return [facts, assets, page]


def _check_path(request: Request[Any, Any, Any]) -> None:
    """Answers 404 where the file system fails instead: beneath a file, for names that are too long or hold a NUL."""
    path: str = request.scope["path"]
    if not os.path.exists(FOLDER / path.lstrip("/")):  # noqa: PTH110 - unlike pathlib's, it raises nothing
        raise Problem("not_found", "There is no such file.", status=404)


@get("/", public=True, include_in_schema=False)
async def _unbuilt() -> Response[str]:
    return Response("The console is not built: run `make build`.\n", status_code=503, media_type="text/plain")
