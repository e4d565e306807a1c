"""Replay of recorded traces through the real HTTP interface, as fast as possible or at a factor of real time.

options  what is asked for                 readers   csv_rows, gpx, geojson (json_stream): files to rows
player   replay(): the whole way           batches   rows to batches, in bounded memory
pace     when a batch may go               sender    batches to receipts over N connections
summary  what came of it                   progress  how far it is
"""

from fleetwire.replay.options import ReplayOptions, speed_factor
from fleetwire.replay.player import ReplayStopped, replay
from fleetwire.replay.rows import TraceError
from fleetwire.replay.summary import Summary

__all__ = ["ReplayOptions", "ReplayStopped", "Summary", "TraceError", "replay", "speed_factor"]
