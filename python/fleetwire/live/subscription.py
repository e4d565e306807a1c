"""What a watcher may ask for: `watch` and `resume`, each with a filter, checked and brought to one spelling.

Two watchers who ask for the same in different words (another order of names, another type of number) share a view.
"""

import hashlib
from functools import cached_property
from typing import Any, Final, Literal, get_args

import msgspec

from fleetwire.errors import Problem
from fleetwire.runtime.client_data import Undecodable, decode

Status = Literal["moving", "stopped", "offline"]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
MOST_DEVICES: Final = 1_000
MOST_ORDERS: Final = 100
LONGEST_NAME: Final = 128  # characters, as of a device
EDGES: Final = ((-180, 180), (-90, 90), (-180, 180), (-90, 90))  # degrees: west, south, east, north


class Filter(msgspec.Struct, frozen=True, dict=True):
    """What a watcher sees: devices that satisfy every member which is given."""

    area_e7: tuple[int, int, int, int] | None = None
    """West, south, east, north in 1e-7 degrees; west lies east of east where the area crosses the antimeridian."""
    statuses: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    orders: tuple[str, ...] | None = None

    @cached_property
    def tag(self) -> str:
        """What an epoch carries, so that a place in one feed is never taken for a place in another; empty for all."""
        if self == WHOLE:
            return ""
        return "-" + hashlib.blake2s(msgspec.json.encode(self), digest_size=6).hexdigest()


WHOLE: Final = Filter()


class _Members(msgspec.Struct, kw_only=True):
    """The members of a filter as they came; their types are looked at when the filter is read."""

    area: Any = None
    devices: Any = None
    status: Any = None
    orders: Any = None


class Watch(_Members, tag_field="type", tag="watch", kw_only=True):
    """The client's `watch`: of several it sent, the newest counts."""


class Resume(_Members, tag_field="type", tag="resume", kw_only=True):
    """The client's `resume`: from where it was before its connection broke, with the filter it had."""

    epoch: str
    seq: int


FeedRequest = Watch | Resume

_WISHES: msgspec.json.Decoder[FeedRequest] = msgspec.json.Decoder(FeedRequest)


def read_wish(data: bytes) -> tuple[FeedRequest, Filter]:
    """Reads a client's message.

    Raises:
        Problem: 400 `message_invalid`, or a code that names the member of the filter.
    """
    try:
        wish = decode(_WISHES, data)
    except Undecodable as error:
        raise Problem("message_invalid", f"Not a watch or resume message: {error}.", status=400) from error
    return wish, Filter(
        area_e7=None if wish.area is None else _area(wish.area),
        statuses=None if wish.status is None else _statuses(wish.status),
        devices=None if wish.devices is None else _devices(wish.devices),
        orders=None if wish.orders is None else _orders(wish.orders),
    )


def _area(value: Any) -> tuple[int, int, int, int]:  # noqa: ANN401 - whatever the client sent
    is_box = isinstance(value, list) and len(value) == len(EDGES)
    if not is_box or not all(
        isinstance(edge, int | float) and not isinstance(edge, bool) and low <= edge <= high
        for edge, (low, high) in zip(value, EDGES, strict=True)
    ):
        raise Problem(
            "watch_area_invalid", "area must be [west, south, east, north] in degrees, -180 to 180 and -90 to 90.",
            status=400,
        )  # fmt: skip
    west, south, east, north = (round(edge * 10_000_000) for edge in value)
    if south > north:
        raise Problem("watch_area_invalid", "The south of the area lies north of its north.", status=400)
    return west, south, east, north


def _statuses(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    statuses = [value] if isinstance(value, str) else value
    if not isinstance(statuses, list) or not statuses or any(status not in STATUSES for status in statuses):
        raise Problem("watch_status_invalid", f"status must be one or several of {', '.join(STATUSES)}.", status=400)
    return tuple(sorted(set(statuses)))


def _devices(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if not _are_names(value, MOST_DEVICES):
        detail = f"devices must be a list of at most {MOST_DEVICES:,} names of 1 to {LONGEST_NAME} characters."
        raise Problem("watch_devices_invalid", detail, status=400)
    return tuple(sorted(set(value)))


def _orders(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if not _are_names(value, MOST_ORDERS):
        detail = f"orders must be a list of at most {MOST_ORDERS} names of 1 to {LONGEST_NAME} characters."
        raise Problem("watch_orders_invalid", detail, status=400)
    return tuple(sorted(set(value)))


def _are_names(value: Any, most: int) -> bool:  # noqa: ANN401
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in value)
    )
