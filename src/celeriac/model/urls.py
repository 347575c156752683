"""Connection addresses: parse once, show without the password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from celeriac.model.errors import ImproperlyConfigured

_SECRET = re.compile(r"(?<=://)([^:/?#@\s]*):([^@/?#\s]*)@")


class Url(Struct, frozen=True):
    """A connection address in parts; percent-escapes in credentials, host and path are undone."""

    scheme: str
    user: str | None
    password: str | None
    host: str | None
    port: int | None
    path: str
    """Without the first slash: ``sqlite:///a.db`` has ``a.db``, ``sqlite:////tmp/a.db`` has ``/tmp/a.db``."""
    query: Mapping[str, str]
    text: str


def parse_url(text: str) -> Url:
    """Take an address apart. Raises ImproperlyConfigured, with the password masked, if it is none."""
    scheme, sep, _ = text.partition("://")
    if not sep:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", text):
            raise ImproperlyConfigured(f"{mask_url(text)!r} is no address; write scheme://host/path")
        return Url(text.lower(), None, None, None, None, "", {}, text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise ImproperlyConfigured(f"{mask_url(text)!r} is no valid address: {exc}") from exc
    return Url(
        scheme=scheme.lower(),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        host=unquote(parts.hostname) if parts.hostname else None,
        port=port,
        path=unquote(parts.path.removeprefix("/")),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        text=text,
    )


def mask_url(text: str) -> str:
    """The address with its password as asterisks."""
    return _SECRET.sub(r"\1:**@", text)
