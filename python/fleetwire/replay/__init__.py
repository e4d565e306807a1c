"""Replays recorded traces over the HTTP interface, as fast as possible or at a multiple of real time.

player     `replay()`: runs the whole pipeline        options    settings of a replay
readers    parses files to rows                       batches    groups rows into batches, in bounded memory
           (csv_rows, gpx, geojson, json_stream)      scheduler  orders and delays batches of a paced replay
sender     posts batches over N connections           summary    counts the outcomes
progress   shows the progress on standard error       rows       the row type that all readers yield
"""

from fleetwire.replay.options import ReplayOptions, speed_factor
from fleetwire.replay.player import ReplayStopped, replay
from fleetwire.replay.rows import TraceError
from fleetwire.replay.summary import ReplaySummary

__all__ = ["ReplayOptions", "ReplayStopped", "ReplaySummary", "TraceError", "replay", "speed_factor"]
