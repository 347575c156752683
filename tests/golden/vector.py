"""Captured messages and records of real Celery, as the model's values.

What an adapter of the technology would do (undo base64, pick the body out of the envelope) is done here.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from celeriac.model.message import Message

FOLDER = Path(__file__).parent / "vectors"

NOT_COVERED = {
    "chord, map, starmap, chunks": "come with a later release",
    "control, mingle, sequence, worker, native": "remote control is not built yet",
    "event, flower": "events are not built yet",
    "amqp, redis, topology, topic, sqs, broker, queue, broadcast, global, body-encoding": "the layout of a broker "
    "belongs to its adapter",
    "backend": "the layout of a backend belongs to its adapter",
    "hazard (other than poison messages), oddities": "what goes wrong in a broker or a worker, not in a message",
    "serializer-auth, serializer-raw": "read here only to see them refused: signing is not built yet, raw bodies hold no arguments",
}
"""Families of vectors that no golden test reads, and why."""


def load(name):
    return json.loads((FOLDER / name).read_text())


def names(*families):
    return sorted(path.name for path in FOLDER.glob("*.json") if path.name.split("-")[0].split(".")[0] in families)


def raw_bytes(raw):
    return raw["text"].encode() if "text" in raw else base64.b64decode(raw["base64"])


def messages_of(vector):
    """(message, decoded headers, decoded body) of each task message of a vector."""
    raws = vector["raw"]["messages"]
    decoded = vector["decoded"]
    if isinstance(decoded, dict):
        decoded = decoded["messages"] if "messages" in decoded else [decoded["message"]]
    return [from_capture(raw, told) for raw, told in zip(raws, decoded, strict=True)]


def from_capture(raw, told):
    if "header_frame_payload" in raw:
        properties = told["properties"]
        return from_amqp(raw, properties), properties.get("headers") or {}, told["body"]
    envelope = json.loads(raw_bytes(raw["value"]))
    return from_envelope(envelope, raw.get("key", "")), envelope.get("headers") or {}, told.get("body")


def from_amqp(raw, properties):
    headers = properties.get("headers") or {}
    return Message(
        id=headers.get("id") or properties.get("correlation_id", ""),
        task=headers.get("task", ""),
        queue=raw["routing_key"],
        headers=json.dumps(headers).encode(),
        body=raw_bytes(raw["body"]),
        content_type=properties["content_type"],
        content_encoding=properties.get("content_encoding", ""),
        priority=properties.get("priority"),
        reply_to=properties.get("reply_to", ""),
    )


def from_envelope(envelope, queue):
    headers = envelope.get("headers")
    properties = envelope["properties"]
    body = envelope["body"]
    name = (headers or {}).get("id")
    return Message(
        id=name if isinstance(name, str) else properties.get("correlation_id", ""),
        task=(headers or {}).get("task", ""),
        queue=queue,
        headers=b"" if headers is None else json.dumps(headers).encode(),
        body=base64.b64decode(body) if properties.get("body_encoding") == "base64" else body.encode(),
        content_type=envelope["content-type"],
        content_encoding=envelope["content-encoding"],
        priority=properties.get("priority"),
        reply_to=properties.get("reply_to", ""),
    )


def plain(value):
    """A value as the vectors tell it: tuples as lists, bytes as base64."""
    if isinstance(value, bytes):
        return {"bytes_base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
