"""GeoJSON: points with a time each, or lines with a list of times, streamed feature by feature.

    FeatureCollection > Feature > Point                      properties.timestamp | time
                                > LineString                 properties.coordTimes | times, one per position
                                > MultiLineString            the same, one list per line
    Feature (alone)             as above

`properties.device` names the device, else `properties.name`, else the file's stem. Points may carry `altitude, speed,
heading, accuracy, battery` with the units of the contract; the third coordinate is an altitude too.
"""

from collections.abc import Iterator
from typing import Any, TextIO

from fleetwire.replay.json_stream import JsonStream
from fleetwire.replay.rows import DAMAGE, Row, Rows, TraceError, Unreadable, checked, millis_of

OPTIONAL = ("altitude", "speed", "heading", "accuracy", "battery")
TYPES = ("FeatureCollection", "Feature")


def read_geojson(file: TextIO, name: str, stem: str, unreadable: Unreadable) -> Rows:
    """Yields the positions of one file in its order; those without a time are counted as unreadable.

    Raises:
        TraceError: the file is not JSON, or JSON of another kind.
    """
    stream = JsonStream(file)
    try:
        for line, feature in _features(stream, name):
            yield from _rows(feature, name, stem, line, unreadable)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise TraceError(name, stream.line, str(error)) from error
    except DAMAGE as error:
        raise TraceError(name, stream.line, str(error)) from error


def _features(stream: JsonStream, name: str) -> Iterator[tuple[int, Any]]:
    """(line, feature) of every feature. Other members of the document are small and are kept to see what it is."""
    document: dict[str, Any] = {}
    streamed = False
    for key in stream.keys():  # noqa: SIM118 - a stream has no membership test
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


def _rows(feature: Any, name: str, stem: str, line: int, unreadable: Unreadable) -> Iterator[Row]:  # noqa: ANN401 - JSON
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
    """(position, time, optional members) of one feature; a position beyond the list of times has the time None."""
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


def _row(device: str, time: Any, position: Any, extra: dict[str, Any]) -> Row:  # noqa: ANN401 - JSON
    if not isinstance(position, list):
        raise ValueError("no position")  # noqa: TRY004 - counted like any value that cannot be read
    altitude, speed, heading, accuracy, battery = (
        None if extra.get(member) is None else float(extra[member]) for member in OPTIONAL
    )
    if altitude is None and len(position) > 2 and position[2] is not None:  # noqa: PLR2004 - longitude, latitude, altitude
        altitude = float(position[2])
    return checked(
        (device, millis_of(time), float(position[1]), float(position[0]), altitude, speed, heading, accuracy, battery)
    )
