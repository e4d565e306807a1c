"""Reads the track points of GPX 1.0 and 1.1 files as a stream.

    gpx > trk > name                       device, else the file's stem
    gpx > trk > trkseg > trkpt lat= lon=   one fix
              ele, time                    altitude, fixed_at
              speed, course                GPX 1.0 members, or anywhere in 1.1's extensions (Garmin, OsmAnd, loggers)
              accuracy                     in extensions

Elements are matched by local name, because the same member exists in a dozen namespaces. Way points and routes
are plans, not positions, and are skipped.

defusedxml's SAX parser refuses a document type declaration where it starts, so that no entity can be declared (GPX
needs none). Memory holds the current point and not the document.
"""

from typing import BinaryIO
from xml.sax import SAXParseException, handler
from xml.sax.xmlreader import AttributesImpl

from defusedxml import DTDForbidden
from defusedxml.expatreader import DefusedExpatParser

from fleetwire.replay.rows import READ_ERRORS, TraceError, TraceRow, TraceRows, UnreadableRows, parse_millis, validated

CHUNK_BYTES = 1 << 16
MAX_TEXT_CHARS = 4096  # of one element; longer text is truncated, so that one endless element cannot fill the memory
SPEED, COURSE = ("speed",), ("course", "bearing", "heading")


def read_gpx(file: BinaryIO, name: str, stem: str, unreadable: UnreadableRows) -> TraceRows:
    """Yields the track points of one file in its order; counts points without a time as unreadable.

    Raises:
        TraceError: the file is not well-formed XML, or declares a document type.
    """
    parser = DefusedExpatParser(forbid_dtd=True)
    points = _TrackPoints(parser, name, stem, unreadable)
    parser.setContentHandler(points)
    try:
        while chunk := file.read(CHUNK_BYTES):
            parser.feed(chunk)
            yield from points.take_rows()
        parser.close()
        yield from points.take_rows()
    except SAXParseException as error:
        raise TraceError(name, error.getLineNumber() or 1, error.getMessage()) from error
    except DTDForbidden as error:
        raise TraceError(name, points.line, "declares a document type; entities are not read") from error
    except (*READ_ERRORS, LookupError) as error:  # LookupError: an encoding unknown to Python
        raise TraceError(name, points.line, str(error)) from error


class _TrackPoints(handler.ContentHandler):
    """Collects the rows of the track points that the parser passes."""

    def __init__(self, parser: DefusedExpatParser, name: str, stem: str, unreadable: UnreadableRows) -> None:
        super().__init__()
        self._parser = parser
        self._name = name
        self._stem = stem
        self._unreadable = unreadable
        self._rows: list[TraceRow] = []
        self._path: list[str] = []
        self._text = ""
        self._device = stem
        self._point: dict[str, str] | None = None
        self._point_line = 0

    @property
    def line(self) -> int:
        """Line that the parser is at."""
        line: int = self._parser.getLineNumber()
        return line

    def take_rows(self) -> list[TraceRow]:
        """Returns the rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 - SAX's name
        local = name.rpartition(":")[2]
        if not self._path and local != "gpx":
            raise TraceError(self._name, self.line, f"is XML, but <{local}> and not <gpx>")
        self._path.append(local)
        self._text = ""
        if local == "trk":
            self._device = self._stem
        elif local == "trkpt":
            self._point = {"lat": attrs.get("lat", ""), "lon": attrs.get("lon", "")}
            self._point_line = self.line

    def characters(self, content: str) -> None:
        if len(self._text) < MAX_TEXT_CHARS:
            self._text += content

    def endElement(self, name: str) -> None:  # noqa: N802, ARG002 - SAX's name
        local = self._path.pop()
        text, self._text = self._text.strip(), ""
        if local == "trkpt":
            self._close_point()
        elif self._point is not None:
            # The first element of a name wins: extensions repeat members, and the outermost is the point's own.
            if text:
                self._point.setdefault(local, text)
        elif local == "name" and text and self._path[-1:] == ["trk"]:
            self._device = text

    def _close_point(self) -> None:
        point, self._point = self._point or {}, None
        try:
            row = (
                self._device,
                parse_millis(point.get("time")),
                float(point["lat"]),
                float(point["lon"]),
                _number(point, ("ele",)),
                _number(point, SPEED),
                _number(point, COURSE),
                _number(point, ("accuracy",)),
                None,
            )
            self._rows.append(validated(row))
        except ValueError as error:
            self._unreadable.add(self._name, self._point_line, error)


def _number(point: dict[str, str], names: tuple[str, ...]) -> float | None:
    for name in names:
        if name in point:
            return float(point[name])
    return None
