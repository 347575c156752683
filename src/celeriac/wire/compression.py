"""Compressed bodies: by MIME type in the ``compression`` header, or by short name.

Celery's ``gzip`` and ``zlib`` both mean the zlib format; nothing on the wire is real gzip.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from celeriac.model.errors import DecodeError, EncodeError

DECOMPRESSED_BYTES_MAX = 256 * 1024 * 1024
"""A body may unfold to this much and no more: a few kilobytes could otherwise fill the memory."""

_LZMA_MEMORY_BYTES_MAX = 128 * 1024 * 1024
"""Dictionary memory of xz; its strongest usual preset asks for 65 MiB."""


class Compression(Struct, frozen=True):
    """One method."""

    name: str
    content_type: str
    compress: Callable[[bytes], bytes]
    new_decompressor: Callable[[], Any]


_ZLIB = Compression("zlib", "application/x-gzip", zlib.compress, zlib.decompressobj)
_BZIP2 = Compression("bzip2", "application/x-bz2", bz2.compress, bz2.BZ2Decompressor)
_LZMA = Compression(
    "lzma",
    "application/x-lzma",
    lzma.compress,
    lambda: lzma.LZMADecompressor(format=lzma.FORMAT_AUTO, memlimit=_LZMA_MEMORY_BYTES_MAX),
)

COMPRESSIONS: Mapping[str, Compression] = {
    "zlib": _ZLIB,
    "gzip": _ZLIB,
    "application/x-gzip": _ZLIB,
    "bzip2": _BZIP2,
    "bzip": _BZIP2,
    "application/x-bz2": _BZIP2,
    "lzma": _LZMA,
    "xz": _LZMA,
    "application/x-lzma": _LZMA,
}
"""By name and by MIME type."""


def compression_named(method: str) -> Compression:
    """The method of that name or MIME type. Raises EncodeError naming those that exist."""
    found = COMPRESSIONS.get(method)
    if found is None:
        known = ", ".join(sorted({entry.name for entry in COMPRESSIONS.values()} | {"gzip"}))
        raise EncodeError(f"unknown compression {method!r}; known are: {known}")
    return found


def compress(data: bytes, method: str) -> tuple[bytes, str]:
    """The compressed bytes, and the MIME type for the header. Raises EncodeError for unknown methods."""
    found = compression_named(method)
    return found.compress(data), found.content_type


def decompress(data: bytes, method: str, bytes_max: int | None = None) -> bytes:
    """The plain bytes. Raises DecodeError for unknown methods, damaged data, and data that unfolds to more than
    `bytes_max` (by default `DECOMPRESSED_BYTES_MAX`)."""
    if bytes_max is None:
        bytes_max = DECOMPRESSED_BYTES_MAX
    found = COMPRESSIONS.get(method)
    if found is None:
        raise DecodeError(f"unknown compression {method[:60]!r} in header 'compression'")
    decompressor = found.new_decompressor()
    try:
        plain: bytes = decompressor.decompress(data, bytes_max + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as exc:
        raise DecodeError(f"body is not valid {found.name} data: {exc}") from exc
    if len(plain) > bytes_max:
        raise DecodeError(f"body unfolds to more than {bytes_max} bytes")
    if not decompressor.eof:
        raise DecodeError(f"body is cut short: its {found.name} data has no end")
    return plain
