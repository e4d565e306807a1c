"""Reads GeoJSON files as a stream of features: points with a time, or lines with a list of times.

    FeatureCollection > Feature > Point                      properties.timestamp | time
                                > LineString                 properties.coordTimes | times, one per position
                                > MultiLineString            one list of times per line
    Feature                     a document of one feature

`properties.device` names the device, else `properties.name`, else the file's stem. Points may carry `altitude, speed,
heading, accuracy, battery` with the units of the contract; the third coordinate is an altitude too.
"""

from collections.abc import Iterator
from typing import Any, TextIO

from fleetwire.replay.json_stream import JsonStream
from fleetwire.replay.rows import READ_ERRORS, TraceError, TraceRow, TraceRows, UnreadableRows, parse_millis, validated

OPTIONAL = ("altitude", "speed", "heading", "accuracy", "battery")
TYPES = ("FeatureCollection", "Feature")


def read_geojson(file: TextIO, name: str, stem: str, unreadable: UnreadableRows) -> TraceRows:
    """Yields the positions of one file in its order; counts those without a time as unreadable.

    Raises:
        TraceError: the file is not JSON, or JSON of another kind.
    """
    stream = JsonStream(file)
    try:
        for line, feature in _features(stream, name):
            yield from _rows(feature, name, stem, line, unreadable)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise TraceError(name, stream.line, str(error)) from error
    except READ_ERRORS as error:
        raise TraceError(name, stream.line, str(error)) from error


def _features(stream: JsonStream, name: str) -> Iterator[tuple[int, Any]]:
    """Yields (line, feature) of every feature; loads the other members of the document to check its type."""
    document: dict[str, Any] = {}
    streamed = False
    for key in stream.keys():  # noqa: SIM118 - a method of the stream, not of a mapping
        if key == "features":
            streamed = True
            for feature in stream.items():
                yield stream.line, feature
        else:
            document[key] = stream.value()
    kind = document.get("type")
    if kind not in TYPES:
        raise TraceError(name, 1, f"is JSON of type {kind!r}, not a GeoJSON {' or '.join(TYPES)}")
    if kind == "Feature" and not streamed:
        yield 1, document


def _rows(feature: Any, name: str, stem: str, line: int, unreadable: UnreadableRows) -> Iterator[TraceRow]:  # noqa: ANN401 - JSON
    feature = feature if isinstance(feature, dict) else {}
    geometry = feature.get("geometry")
    geometry = geometry if isinstance(geometry, dict) else {}
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    device = str(properties.get("device") or properties.get("name") or stem)
    for position, time, extra in _positions(geometry, properties):
        try:
            yield _row(device, time, position, extra)
        except (ValueError, TypeError, IndexError) as error:
            unreadable.add(name, line, error)


def _positions(geometry: dict[str, Any], properties: dict[str, Any]) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yields (position, time, optional members) of one feature; the time is None beyond the end of the list."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        yield coordinates, properties.get("timestamp", properties.get("time")), properties
        return
    nested = properties.get("coordinateProperties")
    listed = nested if isinstance(nested, dict) else properties
    times = listed.get("coordTimes", listed.get("times"))
    if kind == "LineString":
        coordinates, times = [coordinates], [times]
    elif kind != "MultiLineString":
        yield None, None, {}
        return
    for number, line in enumerate(coordinates if isinstance(coordinates, list) else [None]):
        line_times = times[number] if isinstance(times, list) and number < len(times) else None
        line_times = line_times if isinstance(line_times, list) else []
        for index, position in enumerate(line if isinstance(line, list) else [None]):
            yield position, line_times[index] if index < len(line_times) else None, {}


def _row(device: str, time: Any, position: Any, extra: dict[str, Any]) -> TraceRow:  # noqa: ANN401 - JSON
    if not isinstance(position, list):
        raise ValueError("no position")  # noqa: TRY004 - counted like any value that cannot be read
    altitude, speed, heading, accuracy, battery = (
        None if extra.get(member) is None else float(extra[member]) for member in OPTIONAL
    )
    if altitude is None and len(position) > 2 and position[2] is not None:  # noqa: PLR2004 - longitude, latitude, altitude
        altitude = float(position[2])
    return validated(
        (
            device,
            parse_millis(time),
            float(position[1]),
            float(position[0]),
            altitude,
            speed,
            heading,
            accuracy,
            battery,
        )
    )
