"""Options of a replay: files, server, batches, speed and retries."""

from dataclasses import dataclass, field

from fleetwire.errors import ConfigError

MAX_FIXES_PER_BATCH = 10_000  # the contract's limit; the server refuses more


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Options of one replay. Raises `ConfigError` for an invalid value."""

    files: tuple[str, ...]
    """Paths of CSV, GPX or GeoJSON files, plain or gzipped; `-` is CSV on standard input, which is read in the event
    loop: a slow writer blocks the senders too."""
    url: str
    """Address of the server, for example http://127.0.0.1:8000."""
    token: str = field(repr=False)
    """Ingest key of the tenant; the server creates unknown devices."""
    batch_size: int = 500
    """Largest number of fixes per batch, 1 to 10,000."""
    batch_secs: float = 30.0
    """Largest recorded time per batch; applies only with a `speed`."""
    speed: float | None = None
    """Recorded seconds per second: 1 is real time, 60 is an hour per minute; None is as fast as the server answers."""
    senders: int = 8
    """Number of batches in flight, each on its own connection."""
    shuffle_seed: int | None = None
    """Seed to shuffle all rows with before they are batched; loads every row into memory."""
    overlap: float = 0.0
    """Share of the batches that are sent twice, 0 to 1."""
    limit_rows: int | None = None
    """Number of rows after which reading stops."""
    device_prefix: str = ""
    """Prefix of every device name, so that several replays do not mix."""
    shift_to_now: bool = False
    """Shifts all times by the same amount so that the newest fix is now. Reads the files twice."""
    retry_timeout_secs: float = 120.0
    """Period in which a batch is retried after temporary failures (no connection, 429, 5xx) before the replay stops."""
    show_progress: bool = True
    """Shows a progress bar if standard error is a terminal, else prints a line every few seconds."""

    def __post_init__(self) -> None:
        checks = (
            ("files", "name at least one file", bool(self.files)),
            ("batch_size", f"1 to {MAX_FIXES_PER_BATCH}", 1 <= self.batch_size <= MAX_FIXES_PER_BATCH),
            ("batch_secs", "more than 0", self.batch_secs > 0),
            ("speed", "more than 0, or max", self.speed is None or 0 < self.speed < float("inf")),
            ("senders", "1 to 1000", 1 <= self.senders <= 1000),  # noqa: PLR2004 - stated in the message
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
    """Parses `max` (None) or a factor such as `60`.

    Raises:
        ConfigError: it is neither.
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
