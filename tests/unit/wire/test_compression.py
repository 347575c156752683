"""Compression: Celery's names, and a bound on what unfolds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

import pytest

from celeriac.model.errors import DecodeError, EncodeError
from celeriac.wire.compression import compress, decompress

DATA = b"celery and celeriac " * 50


@pytest.mark.parametrize(
    ("name", "content_type", "reference"),
    [
        ("zlib", "application/x-gzip", zlib.decompress),
        ("gzip", "application/x-gzip", zlib.decompress),
        ("bzip2", "application/x-bz2", bz2.decompress),
        ("lzma", "application/x-lzma", lzma.decompress),
    ],
)
def test_each_method_writes_the_format_that_celery_reads(name, content_type, reference):
    packed, told = compress(DATA, name)
    assert told == content_type
    assert reference(packed) == DATA
    assert decompress(packed, told) == decompress(packed, name) == DATA


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_a_bomb_is_refused_before_it_unfolds(name):
    bomb, _ = compress(bytes(10_000_000), name)
    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        decompress(bomb, name, bytes_max=1000)
    assert len(decompress(bomb, name)) == 10_000_000


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_what_unfolds_to_exactly_the_bound_is_read(name):
    packed, _ = compress(DATA, name)
    assert decompress(packed, name, bytes_max=len(DATA)) == DATA
    with pytest.raises(DecodeError, match="more than"):
        decompress(packed, name, bytes_max=len(DATA) - 1)


@pytest.mark.parametrize("name", ["zlib", "bzip2", "lzma"])
def test_damaged_and_truncated_data_is_refused(name):
    packed, _ = compress(DATA, name)
    for damaged in (b"", b"nonsense", packed[: len(packed) // 2], b"x" + packed):
        with pytest.raises(DecodeError):
            decompress(damaged, name)


def test_real_gzip_is_no_format_of_the_wire():
    with pytest.raises(DecodeError, match="not valid zlib data"):
        decompress(gzip.compress(DATA), "gzip")


def test_unknown_methods_are_named():
    with pytest.raises(EncodeError, match="'zipp'; known are: bzip2, gzip, lzma, zlib"):
        compress(DATA, "zipp")
    with pytest.raises(DecodeError, match="unknown compression 'zipp'"):
        decompress(DATA, "zipp")
