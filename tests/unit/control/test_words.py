"""Requests and replies on their way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.control.words import (
    WORD_BYTES_MAX,
    Malformed,
    Reply,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
requests = st.builds(
    Request,
    command=texts,
    arguments=st.dictionaries(texts, st.none() | st.booleans() | texts | st.lists(texts, max_size=3), max_size=3),
    destination=st.none() | st.lists(texts, max_size=3).map(tuple),
    pattern=st.none() | texts,
    ticket=texts,
    reply_to=st.just("") | texts.map(lambda text: f"reply.{text}"),
    expires_at=st.none() | st.floats(0, 4e9),
)


@given(requests)
def test_a_request_arrives_as_it_was_said(request: Request):
    assert decode_request(encode_request(request)) == request


@given(st.binary(max_size=200))
def test_bytes_that_are_no_word_are_malformed_and_nothing_else(data: bytes):
    for decode in (decode_request, decode_reply):
        try:
            decode(data)
        except Malformed:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"command": 1}',
        b'{"command": "ping", "arguments": []}',
        b'{"command": "ping", "destination": "w1@h"}',
        b'{"command": "ping", "reply_to": "control"}',
        b'{"command": "ping", "expires_at": "soon"}',
        b'{"command": "ping", "pattern": "' + b"*" * 300 + b'"}',
        b'{"command": "' + b"x" * WORD_BYTES_MAX + b'"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_malformed_request_is_refused_with_a_reason(data: bytes):
    with pytest.raises(Malformed, match=r"."):
        decode_request(data)


def test_fields_that_a_later_version_adds_do_no_harm():
    assert decode_request(b'{"command": "ping", "colour": "red"}') == Request("ping")


@pytest.mark.parametrize(
    ("request_", "node", "meant"),
    [
        (Request("ping"), "w1@h", True),
        (Request("ping", destination=("w1@h", "w2@h")), "w1@h", True),
        (Request("ping", destination=("w2@h",)), "w1@h", False),
        (Request("ping", destination=()), "w1@h", False),
        (Request("ping", pattern="w*@h"), "w1@h", True),
        (Request("ping", pattern="w?"), "w1@h", False),
        (Request("ping", destination=("w1@h",), pattern="x"), "w1@h", True),
    ],
)
def test_a_request_says_for_whom_it_is(request_: Request, node: str, meant: bool):
    assert request_.concerns(node) is meant


def test_a_request_is_late_some_time_after_its_end_and_never_without_one():
    assert not Request("ping").is_late(math.inf)
    request = Request("ping", expires_at=1000.0)
    assert not request.is_late(1001.0)
    assert request.is_late(1003.0)


@pytest.mark.parametrize("answer", [None, {"ok": "pong"}, [1, "ä", {"deep": [None]}], {"number": 1.5}])
def test_a_reply_arrives_as_it_was_said(answer: Any):
    reply = Reply("ticket", "w1@h", answer)
    assert decode_reply(encode_reply(reply)) == reply


def test_what_json_has_no_form_for_is_shown_as_text():
    word = encode_reply(Reply("t", "n", {"path": Path("/x"), "kind": int, "function": len}))
    assert "built-in function len" in msgspec.json.decode(word)["answer"]["function"]
