"""Times decoding a batch to validated fixes, compared with msgspec, which only checks types."""

from functools import partial

from bench.micro import rival, samples
from bench.micro.stopwatch import Stopwatch
from fleetwire._core import Decoder

FUTURE_MILLIS = 600_000


def run(stopwatch: Stopwatch) -> dict[str, float]:
    """Returns megabytes (10^6) per second and microseconds per batch, for JSON and MessagePack."""
    made = samples.batch()
    decoder = Decoder(max_fixes=10_000, future_millis=FUTURE_MILLIS)
    figures: dict[str, float] = {}
    for name, body, ours, theirs in (
        ("json", samples.as_json(made), decoder.json, rival.DECODE_JSON),
        ("msgpack", samples.as_msgpack(made), decoder.msgpack, rival.DECODE_MSGPACK),
    ):
        batch = ours(body, now_millis=samples.NOW_MILLIS, earliest_millis=0)
        if (batch.accepted, batch.rejected, batch.device) != (samples.FIXES, 0, made["device"]):
            raise AssertionError("The core does not decode the sample correctly.")
        if len(theirs(body).fixes) != samples.FIXES:
            raise AssertionError("msgspec does not decode the sample correctly.")
        ours_micros, theirs_micros = stopwatch.interleaved(
            partial(ours, body, now_millis=samples.NOW_MILLIS, earliest_millis=0), partial(theirs, body)
        )
        figures[f"decode_{name}_micros"] = ours_micros
        figures[f"decode_{name}_mb_per_sec"] = len(body) / ours_micros
        figures[f"msgspec_{name}_mb_per_sec"] = len(body) / theirs_micros
        figures[f"decode_{name}_ratio"] = theirs_micros / ours_micros
    return figures
