"""Ids are keys of stores, which keep text alone."""

from __future__ import annotations

import pytest

from celeriac.model.errors import DecodeError
from celeriac.model.message import Message
from celeriac.wire.protocol2 import decode_head


def test_half_of_a_surrogate_pair_is_no_id() -> None:
    headers = b'{"task": "t", "id": "\\ud800"}'
    with pytest.raises(DecodeError, match="id"):
        decode_head(Message("m", "t", "q", headers, b"[[], {}, {}]"))
