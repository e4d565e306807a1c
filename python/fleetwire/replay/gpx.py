"""GPX 1.0 and 1.1: track points with a time, streamed.

    gpx > trk > name                       the device, else the file's stem
    gpx > trk > trkseg > trkpt lat= lon=   one fix
              ele, time                    altitude, fixed_at
              speed, course                GPX 1.0 members, or anywhere in 1.1's extensions (Garmin, OsmAnd, loggers)
              accuracy                     in extensions

Names are compared without their namespace: the same member lives in a dozen of them. Way points and routes are plans,
not positions, and are passed over.

Read with expat itself rather than ElementTree: a document type declaration is refused where it begins, so no entity can
be declared at all (GPX needs none), and nothing of the document is kept but the point in hand.
"""

from typing import BinaryIO
from xml.parsers import expat

from fleetwire.replay.rows import DAMAGE, Row, Rows, TraceError, Unreadable, checked, millis_of

CHUNK_BYTES = 1 << 16
MAX_TEXT_CHARS = 4096  # a member's text; more of it is cut, so that a file of one endless text stays small
SPEED, COURSE = ("speed",), ("course", "bearing", "heading")


def read_gpx(file: BinaryIO, name: str, stem: str, unreadable: Unreadable) -> Rows:
    """Yields the track points of one file in its order; points without a time are counted as unreadable.

    Raises:
        TraceError: the file is not well-formed XML, or declares a document type.
    """
    points = _Points(name, stem, unreadable)
    try:
        while chunk := file.read(CHUNK_BYTES):
            points.feed(chunk, last=False)
            yield from points.take()
        points.feed(b"", last=True)
        yield from points.take()
    except expat.ExpatError as error:
        raise TraceError(name, error.lineno, expat.errors.messages.get(error.code, str(error))) from error
    except DAMAGE as error:
        raise TraceError(name, points.line, str(error)) from error


class _Points:
    def __init__(self, name: str, stem: str, unreadable: Unreadable) -> None:
        self._name = name
        self._stem = stem
        self._unreadable = unreadable
        self._rows: list[Row] = []
        self._path: list[str] = []
        self._text = ""
        self._device = stem
        self._point: dict[str, str] | None = None
        self._point_line = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    @property
    def line(self) -> int:
        return self._parser.CurrentLineNumber

    def feed(self, chunk: bytes, *, last: bool) -> None:
        self._parser.Parse(chunk, last)

    def take(self) -> list[Row]:
        rows, self._rows = self._rows, []
        return rows

    def _refuse_doctype(self, *_: object) -> None:
        raise TraceError(self._name, self.line, "declares a document type; entities are not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        local = tag.rpartition(" ")[2]
        if not self._path and local != "gpx":
            raise TraceError(self._name, self.line, f"is XML, but <{local}> and not <gpx>")
        self._path.append(local)
        self._text = ""
        if local == "trk":
            self._device = self._stem
        elif local == "trkpt":
            self._point = {"lat": attributes.get("lat", ""), "lon": attributes.get("lon", "")}
            self._point_line = self.line

    def _characters(self, text: str) -> None:
        if len(self._text) < MAX_TEXT_CHARS:
            self._text += text

    def _end(self, _tag: str) -> None:
        local = self._path.pop()
        text, self._text = self._text.strip(), ""
        if local == "trkpt":
            self._close_point()
        elif self._point is not None:
            # The first of a name wins: extensions repeat members, and the one nearest the point is the point's own.
            if text:
                self._point.setdefault(local, text)
        elif local == "name" and text and self._path[-1:] == ["trk"]:
            self._device = text

    def _close_point(self) -> None:
        point, self._point = self._point or {}, None
        try:
            row = (
                self._device,
                millis_of(point.get("time")),
                float(point["lat"]),
                float(point["lon"]),
                _number(point, ("ele",)),
                _number(point, SPEED),
                _number(point, COURSE),
                _number(point, ("accuracy",)),
                None,
            )
            self._rows.append(checked(row))
        except ValueError as error:
            self._unreadable.add(self._name, self._point_line, error)


def _number(point: dict[str, str], names: tuple[str, ...]) -> float | None:
    for name in names:
        if name in point:
            return float(point[name])
    return None
