"""The Rust core. Bytes cross the border once per batch, never a fix; time and limits are parameters."""

from collections.abc import Sequence
from typing import Final, final

__all__ = [
    "BATCH_CODES",
    "MAX_DEVICE_CHARS",
    "MAX_FIXES_PER_BATCH",
    "REJECT_CODES",
    "Batch",
    "Buckets",
    "Decoder",
    "Departures",
    "Frame",
    "Group",
    "LiveTable",
    "Lru",
    "Policy",
    "Recent",
    "RowTypes",
    "Sealed",
    "TrackWriter",
    "__version__",
    "apply_moved",
    "build_profile",
    "catch_up",
    "is_name",
    "merge_segments",
]

__version__: Final[str]
build_profile: Final[str]
"""`release` or `debug`; the benches refuse a debug build."""

MAX_DEVICE_CHARS: Final[int]
MAX_FIXES_PER_BATCH: Final[int]
REJECT_CODES: Final[tuple[tuple[str, str], ...]]
"""Every (code, sentence) a fix can be refused with."""
BATCH_CODES: Final[tuple[tuple[str, str], ...]]
"""Every (code, sentence) a whole batch can be refused with."""

def is_name(text: str, max_chars: int) -> bool:
    """Whether a text is a name: nothing in it that cannot be seen or typed, and no space at either end."""

@final
class Batch:
    """A decoded batch. `accepted + rejected` is the number of fixes sent."""

    @property
    def device(self) -> str | None:
        """The envelope's `device`."""
    @property
    def message_id(self) -> str | None:
        """The envelope's `id`, by which a socket's receipt names the batch."""
    @property
    def accepted(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def days(self) -> list[int]:
        """UTC days of the accepted fixes as days since 1970, ascending, each once."""

    def by_days(self, max_days: int) -> list[Batch]:
        """The accepted fixes in batches of at most so many UTC days each, the oldest first, without device and id."""

    def receipt(self, *, stored: int, duplicate: int) -> bytes:
        """The receipt of a batch whose accepted fixes became so many of each."""

    def queued_receipt(self) -> bytes:
        """The receipt of a batch that is kept in the spool: `queued` instead of `stored` and `duplicate`."""

    def pack(self) -> bytes:
        """Packs the accepted fixes for the spool: 28 bytes per fix."""

    @staticmethod
    def unpack(packed: list[bytes]) -> Batch:
        """Makes one batch of the fixes of several packed ones, in their order.

        Raises:
            ValueError: one of them cannot be read.
        """

    def rejected_by_code(self) -> dict[str, int]:
        """How many fixes were refused with each code, for the counters."""

@final
class Decoder:
    """Reads batches. One for the process; it has no state but its limits."""

    def __new__(cls, *, max_fixes: int, future_millis: int) -> Decoder:
        """`future_millis`: how far a fix may be ahead of `now_millis`."""

    def json(self, body: bytes, *, now_millis: int, earliest_millis: int) -> Batch:
        """Decodes one JSON batch: an envelope, a bare array, or a single fix.

        Fixes before `earliest_millis` are refused as `timestamp_expired`; 0 refuses none that is from 2000 or later.

        Holds the GIL: 5 to 20 microseconds for 50 fixes.

        Raises:
            BatchError: the envelope cannot be read.
        """

    def msgpack(self, body: bytes, *, now_millis: int, earliest_millis: int) -> Batch:
        """The same for MessagePack, with the same members and types."""

@final
class Group:
    """The batches that one transaction will store."""

    def __new__(cls, members: list[tuple[int, int, Batch]]) -> Group:
        """`members`: (tenant_id, device_id, batch) in the order they arrived."""

    def devices(self) -> tuple[str, str]:
        """Tenant ids and device ids as text of arrays, each pair once, ascending: what `lock_group` takes."""

    def days(self) -> list[int]:
        """UTC days touched, as days since 1970, ascending, each once."""

    def late_spans(self, last_fixed_millis: list[int | None], recent: Recent) -> list[tuple[int, int, int, int]]:
        """Where fixes may be stored already: (tenant_id, device_id, from_millis, to_millis), both ends inclusive.

        Each lies within one UTC day and has no gap of more than ten minutes.

        `last_fixed_millis` answers `devices()` one by one; None where a device has no fix yet. Empty when every batch
        starts after its device's newest stored fix, which is the ordinary case. What `recent` knows is left out.
        """

    def seal(
        self,
        *,
        last_fixed_millis: list[int | None],
        stored: list[tuple[int, int, int, int, int | None, bytes | None]],
        recent: Recent,
        received_at_millis: int,
        row_types: RowTypes,
    ) -> Sealed:
        """Drops what is stored already and renders the rest.

        `last_fixed_millis` as for `late_spans`; `stored`: (tenant_id, device_id, first_at_millis, fix_count,
        step_millis, record_send(offset_millis)) of every segment that overlaps a late span; the last is None where a
        fix every `step_millis` says the same. Releases the GIL: the work grows with the group.
        """

@final
class Recent:
    """Times of the last stored batch of each device: a bounded memory that forgets all when it is full."""

    def __new__(cls, *, max_fixes: int) -> Recent: ...
    def forget(self) -> None:
        """Knows nothing any more."""

    def remember(self, group: Group) -> None:
        """The group is committed."""

    def only(self, group: Group) -> Recent:
        """A copy of what is known of the group's devices, which nobody makes forget."""

@final
class RowTypes:
    """The numbers (oids) of the schema's types in one database."""

    def __new__(cls, *, track_segment: int, moved_position: int, packed_int4: int) -> RowTypes: ...

@final
class Sealed:
    """A group ready to be written."""

    @property
    def segments(self) -> bytes:
        """New rows of `track_segment`, an array in PostgreSQL's binary form."""
    @property
    def segment_count(self) -> int: ...
    @property
    def positions(self) -> bytes:
        """A `moved_position` of every device that moved forward, in the same form."""
    @property
    def newest(self) -> str:
        """The `last_fixed_millis` that the group was sealed by, as text of an array."""
    @property
    def stored(self) -> int:
        """Fixes that are new."""
    @property
    def duplicate(self) -> int: ...
    @property
    def moved_tenants(self) -> list[int]:
        """Tenants of whom a device moved forward."""

    def tallies(self) -> list[tuple[int, int]]:
        """(stored, duplicate) of each batch, in their order."""

    def receipts(self) -> list[bytes]:
        """One JSON receipt per member, in the order of the members."""

@final
class Frame:
    """What a watcher is sent at once. Watchers of the same view at the same place get the same object."""

    @property
    def messages(self) -> tuple[str, ...] | tuple[bytes, ...]:
        """Text for JSON, bytes for Protobuf; each of 64 KiB at most, to be sent in order."""
    @property
    def size_bytes(self) -> int:
        """Bytes of all messages on the wire."""

@final
class LiveTable:
    """The newest fix of every device, and since when watchers know it.

    A view is what the watchers of one filter share; 0 is the view of everything. A format is `json`, `rows`
    or `protobuf`.
    """

    def __new__(cls, *, moving_cmps: int, offline_millis: int) -> LiveTable:
        """From which speed on a device is moving, and how old the newest fix of one that is not offline may be."""

    def load(
        self,
        tenant_id: int,
        device_id: int,
        name: str,
        fixed_at_millis: int | None,
        lat_e7: int | None,
        lon_e7: int | None,
        altitude_dm: int | None,
        speed_cmps: int | None,
        heading_cdeg: int | None,
        accuracy_dm: int | None,
        battery_permille: int | None,
    ) -> None:
        """Makes a device known, with its stored position if it has one. Not a movement before the first tick."""

    def advance(self, sealed: Sealed) -> int:
        """Moves positions forward; returns how many moved. An older fix never replaces a newer one."""

    def newest_millis(self, group: Group) -> list[int | None]:
        """Times of the newest fixes of a group's devices, in the order of `Group.devices`; None where none is known."""

    def tick(self, *, now_millis: int) -> list[int]:
        """Closes the tick: tenants whose sequence number went up since the last call, for movements or with time."""

    def seq(self, tenant_id: int) -> int: ...
    def watch(
        self,
        tenant_id: int,
        *,
        area: tuple[int, int, int, int] | None,
        devices: Sequence[str] | None,
        statuses: Sequence[str] | None,
        groups: Sequence[str] | None,
        now_millis: int,
    ) -> int:
        """The view of what satisfies all given members, with one watcher more. Closes the tenant's tick.

        `area`: west, south, east, north in 1e-7 degrees. `statuses`: moving, stopped, offline.

        Raises:
            ValueError: another status.
        """

    def release(self, tenant_id: int, view: int) -> None:
        """One watcher of the view less. A view without any is kept for a while, for those who come back."""

    def set_group(self, tenant_id: int, name: str, device_ids: list[int]) -> None:
        """Says which devices belong to a group, from the next tick on; none ends it."""

    def devices(self) -> list[tuple[int, int, str | None, int | None]]:
        """Every device that is known: tenant, number, name, and the time of its newest fix in ms since 1970."""

    def groups(self) -> list[tuple[int, str]]:
        """Every group that has devices: tenant and name."""

    def forget(self, tenant_id: int) -> None:
        """Forgets a tenant's devices and views; its numbers begin anew."""

    def tenants(self) -> list[int]:
        """The tenants that anything is known of, in no order."""

    def is_exact(self, tenant_id: int, view: int, since_seq: int) -> bool:
        """Whether `moved` holds all that differs since then. A watcher of which it does not needs a snapshot."""

    def snapshot(self, tenant_id: int, view: int, *, format: str, epoch: str, now_millis: int) -> Frame:
        """A `snapshot` frame of all positions of a view. Closes the tenant's tick."""

    def moved(self, tenant_id: int, view: int, *, format: str, since_seq: int) -> Frame | None:
        """A `moved` frame of what changed after `since_seq`, newest position only; None if nothing did."""

    def frames_made(self) -> tuple[int, int]:
        """Frames that were rendered, and those that were handed out again, since the start."""

    def geojson(self, tenant_id: int) -> bytes:
        """All positions as a GeoJSON FeatureCollection."""

    def __len__(self) -> int:
        """Devices with a position, of all tenants."""

@final
class Departures:
    """What moved by this worker's commits since the last `take`, to be told to other workers."""

    def __new__(cls) -> Departures: ...
    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """This worker met a device, which others may not know: its name travels with the next message."""

    def record(self, sealed: Sealed) -> None:
        """Stored positions moved forward."""

    def forget(self, tenant_id: int) -> None:
        """Nobody is told of a tenant's devices."""

    def take(self) -> list[tuple[int, bytes]]:
        """(tenant_id, packed message) of each tenant, once. Grows with the devices that moved; releases the GIL."""

def apply_moved(table: LiveTable, tenant_id: int, message: bytes) -> int:
    """Moves `table` by another worker's message; returns how many moved. Releases the GIL.

    Raises:
        ValueError: the message is damaged or of another version; nothing of it was applied.
    """

def catch_up(table: LiveTable, rows: list[tuple[int | str | None, ...]], departures: Departures | None = None) -> int:
    """Moves `table` by rows of `load_live`, as movements; returns how many moved. Releases the GIL.

    With `departures`, other workers are told of them as well.
    """

@final
class TrackWriter:
    """Renders a device's history in order of time from segments that may overlap."""

    def __new__(cls, *, format: str, device: str, from_millis: int, to_millis: int) -> TrackWriter:
        """`format`: geojson, gpx, csv or csv-spreadsheet; both ends of the span are inclusive.

        Raises:
            ValueError: another format.
        """

    def push(
        self,
        first_at_millis: int,
        offset_millis: bytes,
        lat_e7: bytes,
        lon_e7: bytes,
        altitude_dm: bytes | None,
        speed_cmps: bytes | None,
        heading_cdeg: bytes | None,
        accuracy_dm: bytes | None,
        battery_permille: bytes | None,
    ) -> bytes:
        """Takes one segment and returns what can be sent already; columns as `record_send` and `array_send` give them.

        Segments come ascending by `first_at_millis`; a fix is held back until no later segment can precede it.
        """

    def rewind(self) -> int:
        """Forgets what was not returned yet and says from which time (milliseconds since 1970) to read again.

        For segments that were merged between two pages. The next segment may begin before that time.
        """

    def finish(self) -> bytes:
        """The rest, with whatever closes the document."""

@final
class Lru:
    """A bounded map from bytes to objects that forgets what was used longest ago, and what is older than its life."""

    def __new__(cls, *, capacity: int, ttl_millis: int, max_bytes: int | None = None) -> Lru:
        """`ttl_millis` is the life of an entry that names none; without `max_bytes` only `capacity` bounds the map."""

    def get(self, key: bytes, *, now_millis: int) -> object | None:
        """O(1), holds the GIL."""

    def put(
        self,
        key: bytes,
        value: object,
        *,
        now_millis: int,
        ttl_millis: int | None = None,
        size_bytes: int = 0,
        tags: Sequence[bytes] | None = None,
    ) -> None:
        """Replaces the value, its terms and its tags; drops what was used longest ago to make room.

        A value of more than `max_bytes` is not kept. O(1) but for what is dropped, holds the GIL.
        """

    def remove(self, key: bytes) -> bool: ...
    def remove_tag(self, tag: bytes) -> int:
        """Removes every entry with a tag; returns how many."""

    def clear(self) -> None: ...
    @property
    def size_bytes(self) -> int:
        """What the entries count together, those included whose life is over but that nobody asked for since."""

    def __len__(self) -> int: ...

@final
class Policy:
    """A rule for many token buckets, one for each scope and key, and how often it allowed and refused."""

    def __new__(cls, name: str, *, quota: int, period_micros: int, burst: int, within: Policy | None = None) -> Policy:
        """`quota` units flow in during each period, `burst` of them can be taken at once.

        What is taken by a policy `within` another is taken from the scope's one bucket of that other one as well.

        Raises:
            ValueError: a number is zero, burst * period exceeds 2^51, or `within` lies within a third.
        """

    @property
    def name(self) -> str: ...
    @property
    def quota(self) -> int: ...
    @property
    def period_micros(self) -> int: ...
    @property
    def burst(self) -> int: ...
    @property
    def within(self) -> Policy | None: ...
    @property
    def allowed(self) -> int:
        """Takes it allowed, since the start."""
    @property
    def refused(self) -> int: ...
    def count(self, *, allowed: bool) -> None:
        """Counts what was decided elsewhere."""

@final
class Buckets:
    """Token buckets by policy, scope and key, in memory bounded from the start: 48 bytes for each of `max_keys`.

    Times are microseconds on a clock that does not go back. A bucket that is full again is forgotten without loss;
    where there is no room, the one nearest to being full is.
    """

    def __new__(cls, *, max_keys: int) -> Buckets: ...
    def take(self, policy: Policy, scope: str, key: str, cost: int, now_micros: int) -> tuple[Policy, int] | None:
        """Takes a cost, from the bucket and from the one it lies within, or from neither.

        None where it was taken; otherwise which policy refused, and after how many microseconds to try again. A cost
        above the burst is allowed where the bucket is full, and leaves it in debt. O(1), holds the GIL.
        """

    def check(self, policy: Policy, scope: str, key: str, cost: int, now_micros: int) -> tuple[Policy, int] | None:
        """What `take` would answer; takes nothing, and counts only a refusal."""

    def take_many(self, policy: Policy, scope: str, keys: list[str], cost: int, now_micros: int) -> list[int]:
        """One take for each key, in order: 0, or the microseconds to wait."""

    def left(self, policy: Policy, scope: str, key: str, now_micros: int) -> tuple[int, int]:
        """Units that can be taken now, and microseconds until the bucket is full."""

    def settle(self, policy: Policy, scope: str, key: str, reset_micros: int, now_micros: int) -> None:
        """Drains a bucket at least so far that it takes `reset_micros` to be full: what others took of a shared one."""

    def drained(self, now_micros: int) -> int:
        """Buckets that are not full. Looks at all of them."""
    @property
    def evicted(self) -> int:
        """Buckets that were forgotten before they were full, since the start."""
    @property
    def size_bytes(self) -> int: ...

def merge_segments(
    tenant_id: int,
    device_id: int,
    segments: list[
        tuple[int, int, bytes, bytes, bytes, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None]
    ],
    *,
    max_fixes: int,
) -> tuple[bytes, int, int]:
    """Merges stored segments of one device, in any order; returns (binary COPY, its rows, its fixes).

    `segments`: first_at_millis, received_at_millis and the eight columns from offset_millis to battery_permille, as for
    `TrackWriter.push`. Rows hold at most `max_fixes` and never cross a UTC day. Releases the GIL: 0.2
    microseconds for each fix.

    Raises:
        ValueError: a segment cannot be read, or a time is stored twice.
    """
