"""The format of the spool's files: records that a torn write or a flipped bit cannot pass for others.

    file:    magic, record*
    record:  length u32le | crc32 u32le of the payload | payload

A record that fails its checksum ends its file, because where the next one would begin could only be guessed.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

MAGIC = b"FWSPOOL2"
_HEAD = struct.Struct("<II")


class Contents(NamedTuple):
    """The records of a file, up to its end or to the first one that is damaged."""

    payloads: list[bytes]
    skipped_bytes: int
    """From the first damaged record to the end; 0 if all could be read."""


def record(payload: bytes) -> bytes:
    """Returns a payload as a record."""
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def content(payloads: Iterable[bytes]) -> bytes:
    """Returns a whole file."""
    return MAGIC + b"".join(record(payload) for payload in payloads)


def write(file: IO[bytes], data: bytes) -> None:
    """Writes all of `data` to an unbuffered file, which alone may take only a part, and flushes it to the disk."""
    unwritten = memoryview(data)
    while unwritten:
        unwritten = unwritten[os.write(file.fileno(), unwritten) :]
    os.fsync(file.fileno())


def read(path: Path) -> Contents:
    """Reads a file into memory.

    Raises:
        OSError: it is gone, or cannot be read.
    """
    data = path.read_bytes()
    at = len(MAGIC)
    if data[:at] != MAGIC:
        return Contents([], len(data))
    payloads: list[bytes] = []
    while at < len(data):
        payload = _payload(data, at)
        if payload is None:
            return Contents(payloads, len(data) - at)
        payloads.append(payload)
        at += _HEAD.size + len(payload)
    return Contents(payloads, 0)


def _payload(data: bytes, at: int) -> bytes | None:
    """The payload of the record at `at`; None if it is torn or flipped."""
    if at + _HEAD.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    payload = data[at + _HEAD.size : at + _HEAD.size + length]
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None
