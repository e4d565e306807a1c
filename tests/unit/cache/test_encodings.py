"""Compressors in pieces, and what an Accept-Encoding means."""

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.cache.encodings import COMPRESSORS, MAX_HEADER_CHARS, PREFERRED, compress, is_text, negotiate

READ = {
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "gzip": gzip.decompress,
    "identity": bytes,
}


@given(body=st.binary(max_size=5_000), encoding=st.sampled_from(PREFERRED))
def test_whole_bodies_come_back(body, encoding):
    assert READ[encoding](compress(body, encoding)) == body


@given(
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=500), st.booleans()), max_size=20),
    encoding=st.sampled_from(sorted(COMPRESSORS)),
)
def test_pieces_come_back_and_what_is_due_can_be_read_at_once(pieces, encoding):
    compressor = COMPRESSORS[encoding]()
    reader = {
        "br": lambda: brotli.Decompressor().process,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
        "gzip": lambda: zlib.decompressobj(wbits=31).decompress,
    }[encoding]()
    sent = read = b""
    for piece, is_due in pieces:
        sent += piece
        read += reader(compressor.feed(piece, is_due=is_due))
        assert not is_due or read == sent
    assert read + reader(compressor.finish()) == sent


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, ("identity", True)), (b"", ("identity", True)), (b"*", ("br", True)), (b"*;q=0", (None, False)),
        (b"identity;q=0", (None, False)), (b"identity;q=0, br", ("br", False)),
        (b"*;q=0, identity", ("identity", True)),
        (b"br;q=1.5", ("identity", True)), (b"br;q=-1", ("identity", True)), (b"gzip ; q=0.5 , zstd", ("zstd", True)),
        (b"gzip," * MAX_HEADER_CHARS, ("identity", True)), (b"\xff\xfe", ("identity", True)),
        (b";;,", ("identity", True)),
        (b"identity;q=0.9, gzip;q=0.8", ("identity", True)), (b"br;q=nan", ("identity", True)),
    ],
)  # fmt: skip
def test_accept_encoding_is_read_by_quality(accept, expected):
    assert negotiate(accept) == expected


@given(st.binary(max_size=100))
def test_any_header_has_a_meaning(accept):
    encoding, plain_is_fine = negotiate(accept)
    assert encoding in {None, *PREFERRED}
    assert (encoding is not None) or not plain_is_fine


def test_texts_are_told_from_pictures():
    for content_type in (b"text/html; charset=utf-8", b"application/json", b"Application/GEO+json", b"image/svg+xml"):
        assert is_text(content_type)
    for content_type in (b"image/png", b"font/woff2", b"application/octet-stream", b""):
        assert not is_text(content_type)
