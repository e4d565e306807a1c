"""Options of a simulated fleet: size, behaviour and connection."""

from dataclasses import dataclass, field

from fleetwire.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """Options of one fleet. Raises `ConfigError` for an invalid value."""

    url: str
    """Address of the server, for example http://127.0.0.1:8000."""
    token: str = field(repr=False)
    """Ingest key of the tenant; the server creates unknown devices."""
    vehicles: int = 200
    seed: int = 7
    """Decides town, drives, noise and dead zones."""
    centre_lat_deg: float = 48.137
    centre_lon_deg: float = 11.575
    device_prefix: str = "truck-"
    """Devices are named `truck-1` to `truck-<vehicles>`."""
    socket_share: float = 0.5
    """Share of the devices that send over `/ws`; the others use HTTP."""
    sample_secs: float = 1.0
    """Interval between fixes."""
    send_secs: float = 5.0
    """Mean interval between batches; each varies by up to two fifths."""
    dead_zones: int = 12
    """Number of circles of 250 to 500 m radius without a network; fixes recorded there arrive later in one burst."""
    repeat_share: float = 0.01
    """Share of the batches that are sent again after their receipt."""
    start_secs: float = 5.0
    """Period over which the devices start."""
    max_buffered_fixes: int = 3600
    """Largest number of unacknowledged fixes of a device; above it new fixes are dropped and counted."""
    print_every_secs: float = 10.0
    """Interval between status lines on standard error; 0 prints none."""
    run_secs: float | None = None
    """Duration of the run; None runs until it is cancelled."""
    flush_secs: float = 2.0
    """Timeout at the end for sending unacknowledged fixes."""

    def __post_init__(self) -> None:
        checks = (
            ("vehicles", "at least 1", self.vehicles >= 1),
            ("centre_lat_deg", "-80 to 80", -80 <= self.centre_lat_deg <= 80),  # noqa: PLR2004 - stated in the message
            ("centre_lon_deg", "-180 to 180", -180 <= self.centre_lon_deg <= 180),  # noqa: PLR2004 - stated in the message
            ("socket_share", "0 to 1", 0 <= self.socket_share <= 1),
            ("sample_secs", "at least 0.01", self.sample_secs >= 0.01),  # noqa: PLR2004 - stated in the message
            ("send_secs", "more than 0", self.send_secs > 0),
            ("dead_zones", "0 or more", self.dead_zones >= 0),
            ("repeat_share", "0 to 1", 0 <= self.repeat_share <= 1),
            ("start_secs", "0 or more", self.start_secs >= 0),
            ("max_buffered_fixes", "1 to 10000, the largest batch", 1 <= self.max_buffered_fixes <= 10_000),  # noqa: PLR2004
            ("print_every_secs", "0 or more", self.print_every_secs >= 0),
            ("run_secs", "0 or more", self.run_secs is None or self.run_secs >= 0),
            ("flush_secs", "0 or more", self.flush_secs >= 0),
        )
        for name, right, holds in checks:
            if not holds:
                raise ConfigError(f"{name}: {right}")
