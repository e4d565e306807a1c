"""Reads CSV files: one fix per line, columns by the names in the header.

`device, ts_ms, lat, lon` are required; `alt_m, speed_mps, heading_deg, accuracy_m, battery` are optional and may be
blank. The loop uses no helper function per value, because it limits the speed of a whole replay.
"""

import csv
from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING

from fleetwire.replay.rows import MAX_MILLIS, READ_ERRORS, TraceError, TraceRows, UnreadableRows, validated

if TYPE_CHECKING:
    from _csv import Reader

REQUIRED = ("device", "ts_ms", "lat", "lon")
OPTIONAL = ("alt_m", "speed_mps", "heading_deg", "accuracy_m", "battery")


def read_csv(content: Iterable[bytes], name: str, unreadable: UnreadableRows) -> TraceRows:
    """Yields the rows of one file in its order.

    Raises:
        TraceError: the header lacks a required column, or the text is not CSV.
    """
    # Decoded line by line, not in blocks, so that an error names the line of a byte that is not UTF-8.
    records = csv.reader(map(bytes.decode, content))
    try:
        header = [column.strip(" \t\ufeff") for column in next(records, [])]
        missing = [column for column in REQUIRED if column not in header]
        if missing:
            raise TraceError(name, 1, f"the header lacks {', '.join(missing)} (it must have {','.join(REQUIRED)})")
        yield from _rows(records, header, name, unreadable)
    except csv.Error as error:
        raise TraceError(name, records.line_num, str(error)) from error
    except READ_ERRORS as error:  # raised while the next line was read
        raise TraceError(name, records.line_num + 1, str(error)) from error


def _rows(records: "Reader", header: list[str], name: str, unreadable: UnreadableRows) -> TraceRows:
    width = len(header)
    # Missing columns point one past the end, where every record gets an empty value appended.
    device_at, time_at, lat_at, lon_at = (header.index(column) for column in REQUIRED)
    alt_at, speed_at, heading_at, accuracy_at, battery_at = (
        header.index(column) if column in header else width for column in OPTIONAL
    )
    for record in records:
        if len(record) != width:
            if record:  # empty lines are skipped
                unreadable.add(name, records.line_num, f"{len(record)} values under {width} columns")
            continue
        record.append("")
        try:
            device = record[device_at]
            fixed_at_millis = int(record[time_at])
            latitude = float(record[lat_at])
            longitude = float(record[lon_at])
            altitude = float(text) if (text := record[alt_at]) else None
            speed = float(text) if (text := record[speed_at]) else None
            heading = float(text) if (text := record[heading_at]) else None
            accuracy = float(text) if (text := record[accuracy_at]) else None
            battery = float(text) if (text := record[battery_at]) else None
        except ValueError as error:
            unreadable.add(name, records.line_num, error)
            continue
        row = (device, fixed_at_millis, latitude, longitude, altitude, speed, heading, accuracy, battery)
        # A finite sum has only finite terms: this one test accepts nearly every row, `validated` checks the rest.
        total = (
            latitude + longitude + (altitude or 0) + (speed or 0) + (heading or 0) + (accuracy or 0) + (battery or 0)
        )
        if not isfinite(total) or not -MAX_MILLIS <= fixed_at_millis <= MAX_MILLIS or not device:
            try:
                validated(row)
            except ValueError as error:
                unreadable.add(name, records.line_num, error)
                continue
        yield row
