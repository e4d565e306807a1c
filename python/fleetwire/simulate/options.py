"""What a simulated fleet looks like."""

from dataclasses import dataclass, field

from fleetwire.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """Options of one fleet. A wrong one raises `ConfigError` at once."""

    url: str
    """Address of the server, for example http://127.0.0.1:8000."""
    token: str = field(repr=False)
    """Ingest key of the tenant; the devices are created by the server at first sight."""
    vehicles: int = 200
    seed: int = 7
    """Town, drives, noise and dead zones follow from it."""
    centre_lat_deg: float = 48.137
    centre_lon_deg: float = 11.575
    device_prefix: str = "truck-"
    """The devices are called `truck-1` to `truck-<vehicles>`."""
    socket_share: float = 0.5
    """Share of the devices that use `/ws`; the others post."""
    sample_secs: float = 1.0
    """From one fix to the next."""
    send_secs: float = 5.0
    """From one batch to the next, give or take two fifths."""
    dead_zones: int = 12
    """Circles of 250 to 500 m without a network: fixes taken there arrive later in one burst."""
    repeat_share: float = 0.01
    """Share of the batches that are sent once more although their receipt came."""
    start_secs: float = 5.0
    """The devices begin spread over so long."""
    held_fixes: int = 3600
    """Most fixes a device keeps without a receipt; when full, new ones are dropped and counted."""
    print_every_secs: float = 10.0
    """From one line on standard error to the next; 0 prints none."""
    run_secs: float | None = None
    """Ends by itself after so long; None runs until it is cancelled."""
    flush_secs: float = 2.0
    """How long the devices may take at the end to send what they hold."""

    def __post_init__(self) -> None:
        checks = (
            ("vehicles", "at least 1", self.vehicles >= 1),
            ("centre_lat_deg", "-80 to 80", -80 <= self.centre_lat_deg <= 80),  # noqa: PLR2004 - said beside it
            ("centre_lon_deg", "-180 to 180", -180 <= self.centre_lon_deg <= 180),  # noqa: PLR2004 - said beside it
            ("socket_share", "0 to 1", 0 <= self.socket_share <= 1),
            ("sample_secs", "at least 0.01", self.sample_secs >= 0.01),  # noqa: PLR2004 - said beside it
            ("send_secs", "more than 0", self.send_secs > 0),
            ("dead_zones", "0 or more", self.dead_zones >= 0),
            ("repeat_share", "0 to 1", 0 <= self.repeat_share <= 1),
            ("start_secs", "0 or more", self.start_secs >= 0),
            ("held_fixes", "1 to 10000, what one batch may hold", 1 <= self.held_fixes <= 10_000),  # noqa: PLR2004
            ("print_every_secs", "0 or more", self.print_every_secs >= 0),
            ("run_secs", "0 or more", self.run_secs is None or self.run_secs >= 0),
            ("flush_secs", "0 or more", self.flush_secs >= 0),
        )
        for name, right, holds in checks:
            if not holds:
                raise ConfigError(f"{name}: {right}")
