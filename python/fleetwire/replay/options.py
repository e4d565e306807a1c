"""What a replay is asked to do."""

from dataclasses import dataclass, field

from fleetwire.errors import ConfigError

MAX_FIXES_PER_BATCH = 10_000  # the contract's limit; the server refuses more


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Options of one replay. A wrong one raises `ConfigError` at once."""

    files: tuple[str, ...]
    """Paths of CSV, GPX or GeoJSON files, plain or gzipped; `-` is CSV on standard input, which is read in the event
    loop: a slow writer holds up the senders too."""
    url: str
    """Address of the server, for example http://127.0.0.1:8000."""
    token: str = field(repr=False)
    """Ingest key of the tenant; unknown devices are created by the server at first sight."""
    batch_size: int = 500
    """Most fixes per batch, 1 to 10,000."""
    batch_secs: float = 30.0
    """Most recorded seconds per batch; counts only where `speed` is given."""
    speed: float | None = None
    """Recorded seconds per second: 1 is real time, 60 an hour a minute; None is as fast as the server answers."""
    senders: int = 8
    """Batches in flight at once, each on a connection of its own."""
    shuffle_seed: int | None = None
    """Shuffles all rows before they are cut into batches. Holds every row in memory."""
    overlap: float = 0.0
    """Share of the batches that are sent twice, 0 to 1."""
    limit_rows: int | None = None
    """Stops reading after so many rows."""
    device_prefix: str = ""
    """Put before every device's name, so that several replays can stand side by side."""
    shift_to_now: bool = False
    """Moves all times by the same amount so that the newest fix is now. Reads the files twice."""
    retry_timeout_secs: float = 120.0
    """How long a batch may fail for passing reasons (no connection, 429, 5xx) before the replay stops."""
    show_progress: bool = True
    """A bar on standard error where that is a terminal, a line every few seconds elsewhere."""

    def __post_init__(self) -> None:
        checks = (
            ("files", "name at least one file", bool(self.files)),
            ("batch_size", f"1 to {MAX_FIXES_PER_BATCH}", 1 <= self.batch_size <= MAX_FIXES_PER_BATCH),
            ("batch_secs", "more than 0", self.batch_secs > 0),
            ("speed", "more than 0, or max", self.speed is None or 0 < self.speed < float("inf")),
            ("senders", "1 to 1000", 1 <= self.senders <= 1000),  # noqa: PLR2004 - said in the text beside it
            ("overlap", "0 to 1", 0 <= self.overlap <= 1),
            ("limit_rows", "at least 1", self.limit_rows is None or self.limit_rows >= 1),
            ("retry_timeout_secs", "0 or more", self.retry_timeout_secs >= 0),
            ("shuffle_seed", "only without a speed", self.shuffle_seed is None or self.speed is None),
            (
                "shift_to_now",
                "not with standard input: it is read twice",
                not (self.shift_to_now and "-" in self.files),
            ),
        )
        for name, right, holds in checks:
            if not holds:
                raise ConfigError(f"{name}: {right}")


def speed_factor(text: str) -> float | None:
    """Reads `max` (None) or a factor such as `60`.

    Raises:
        ConfigError: neither.
    """
    if text == "max":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ConfigError(f"speed: {text!r} is neither max nor a factor above 0, such as 1 or 60")
    return factor
