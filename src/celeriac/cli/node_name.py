"""Names of nodes, with parts to fill in: ``-n w1@%h``."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_NAME = "celery"
"""The part before the @ when none is given: Celery's, so that tools find our nodes among its own."""


def node_name(template: str | None, host: str) -> str:
    """The node's name. ``%h`` is the whole host name, ``%n`` its first part, ``%d`` the rest, ``%%`` a percent sign.

    Without an @ the host is added: ``-n w1`` is ``w1@host``.
    """
    if not template:
        return f"{DEFAULT_NAME}@{host}"
    first, _, domain = host.partition(".")
    text = _filled(template, {"h": host, "n": first, "d": domain})
    if "@" not in text:
        return f"{text}@{host}"
    return f"{DEFAULT_NAME}{text}" if text.startswith("@") else text


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Every %x that is known replaced in one pass, so that what was filled in is not read again."""
    parts: list[str] = []
    rest = template
    while rest:
        before, percent, after = rest.partition("%")
        parts.append(before)
        if not percent:
            break
        key, rest = after[:1], after[1:]
        parts.append("%" if key == "%" else values.get(key, f"%{key}"))
    return "".join(parts)
