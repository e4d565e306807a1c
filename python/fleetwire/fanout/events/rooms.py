"""Where events are put, and who may hear and say what there. The credential decides, never the client's word.

dispatch       dispatchers and admins
driver:{name}  the device of that name, the driver who has it, or, where there is no such device, the driver of that
               name who has none; dispatchers and admins
order:{id}     the drivers whose device works on the order or who are offered it, dispatchers and admins
"""

from collections.abc import Collection
from typing import Final

from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem
from fleetwire.runtime.names import is_name

DISPATCH: Final = "dispatch"
EVERY: Final = "*"
MAX_ROOMS: Final = 100
REPORTS: Final = frozenset({"emergency", "message"})
"""Kinds that a driver may publish."""

_OF: Final = frozenset({"driver", "order"})


def own_room(principal: Principal) -> str | None:
    """The room of a driver: named by its device, or by its user where there is none. A device's name wins."""
    if not principal.may("report") or (principal.device is None and principal.is_named_like_a_device):
        return None
    name = principal.device or principal.user
    return None if name is None else f"driver:{name}"


def actor(principal: Principal) -> str:
    """Who watchers are told has published."""
    return own_room(principal) or f"user:{principal.user}"


def may_read_all(principal: Principal) -> bool:
    """Whether every room of the tenant is open: with `events` and `dispatch`, and never for want of a narrower rule."""
    return principal.may("events") and principal.may("dispatch")


def readable_rooms(principal: Principal, orders: Collection[str] = ()) -> frozenset[str]:
    """The rooms of an asker for whom not all are open; empty where there is none.

    Args:
        principal: who asks.
        orders: the ids of the asker's orders.
    """
    own = own_room(principal) if principal.may("events") else None
    return frozenset() if own is None else frozenset({own, *(f"order:{order}" for order in orders)})


def first_rooms(principal: Principal) -> list[str]:
    """The rooms of a socket that names none; empty where its credential opens none."""
    return [DISPATCH] if may_read_all(principal) else sorted(readable_rooms(principal))


def room_filter(principal: Principal, names: Collection[str] | None) -> list[str] | None:
    """The rooms to read from: those that were named, or the asker's. None stands for all of the tenant.

    Raises:
        Problem: 403 `room_forbidden` for all rooms without `dispatch`.
    """
    if may_read_all(principal):
        return None if names is None or EVERY in names else list(names)
    if names is not None and EVERY in names:
        raise _forbidden(EVERY)
    return sorted(readable_rooms(principal)) if names is None else list(names)


def check_names(rooms: Collection[str]) -> None:
    """Lets names of rooms pass.

    Raises:
        Problem: 400 `room_invalid`.
    """
    if not 1 <= len(rooms) <= MAX_ROOMS:
        raise Problem("room_invalid", f"Name 1 to {MAX_ROOMS} rooms.", status=400)
    for room in rooms:
        of, _, name = room.partition(":")
        if room not in {EVERY, DISPATCH} and not (of in _OF and is_name(name)):
            raise Problem("room_invalid", "A room is dispatch, driver:{name} or order:{id}.", status=400)


def check_hears(principal: Principal, rooms: Collection[str], orders: Collection[str]) -> None:
    """Lets those pass who may hear everything said in these rooms.

    Args:
        principal: who asks.
        rooms: names that `check_names` has seen.
        orders: the ids of the asker's orders.

    Raises:
        Problem: 403 `room_forbidden`.
    """
    if may_read_all(principal):
        return
    theirs = readable_rooms(principal, orders)
    for room in rooms:
        if room not in theirs:
            raise _forbidden(room)


def check_says(principal: Principal, room: str, kind: str, orders: Collection[str]) -> None:
    """Lets those pass who may publish an event of this kind there. A driver may always call dispatch.

    Raises:
        Problem: 403 `forbidden`, `room_forbidden` or `kind_forbidden`; 400 `room_invalid`.
    """
    if room == EVERY:
        raise Problem("room_invalid", "An event is published in one room.", status=400)
    principal.require("dispatch", "report")
    if principal.may("dispatch"):
        return
    if kind not in REPORTS:
        raise Problem("kind_forbidden", "A driver publishes emergencies and messages only.", status=403)
    if room != DISPATCH:
        check_hears(principal, [room], orders)


def _forbidden(room: str) -> Problem:
    return Problem("room_forbidden", f"This credential may not be in the room {room}.", status=403)
