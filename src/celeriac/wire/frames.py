"""Frames between a node and its children: a 4-byte little-endian length, then one msgpack value.

Both ends are the same release, so that the layout may change freely. The body of a message travels as the
bytes that came in.
"""

from __future__ import annotations

import struct
from typing import Any, Union

import msgspec
from msgspec import Struct

from celeriac.model.errors import DecodeError
from celeriac.model.message import Message, Record, Verdict

_LENGTH = struct.Struct("<I")
FRAME_BYTES_MAX = 1 << 31
"""No frame is larger; a length beyond it means that the stream is out of step."""


class JobFrame(Struct, frozen=True, gc=False, array_like=True):
    """One job. `conclude` is (state, error name, error arguments) of a run whose process is gone."""

    seq: int
    key: int
    message: Message
    attempt: int
    crashes: int
    redelivered: bool
    conclude: tuple[str, str, tuple[Any, ...]] | None = None


class Jobs(Struct, frozen=True, gc=False, array_like=True, tag="jobs"):
    """Node to child: run these, in order."""

    jobs: tuple[JobFrame, ...]


class RecallJobs(Struct, frozen=True, gc=False, array_like=True, tag="recall"):
    """Node to child, on the control socket: give back those you have not begun."""

    seqs: tuple[int, ...]


class Leave(Struct, frozen=True, gc=False, array_like=True, tag="leave"):
    """Node to child, on the control socket: give back what you have not begun, and end."""


class Hello(Struct, frozen=True, gc=False, array_like=True, tag="hello"):
    """Child to node: up."""

    pid: int


class Done(Struct, frozen=True, gc=False, array_like=True, tag="done"):
    """Child to node: what became of a job."""

    seq: int
    state: str
    verdict: Verdict
    runtime_s: float
    records: tuple[Record, ...] = ()
    follow_ups: tuple[Message, ...] = ()
    retiring: bool = False


class Keep(Struct, frozen=True, gc=False, array_like=True, tag="keep"):
    """Child to node: write this record now (STARTED)."""

    record: Record


class Back(Struct, frozen=True, gc=False, array_like=True, tag="back"):
    """Child to node: not begun, yours again."""

    seqs: tuple[int, ...]


ToChild = Union[Jobs, RecallJobs, Leave]
FromChild = Union[Hello, Done, Keep, Back]

_encode = msgspec.msgpack.Encoder().encode
_decode_to_child = msgspec.msgpack.Decoder(ToChild)
_decode_from_child = msgspec.msgpack.Decoder(FromChild)


def pack(frame: ToChild | FromChild) -> bytes:
    """A frame as bytes, length first."""
    data = _encode(frame)
    return _LENGTH.pack(len(data)) + data


class FrameReader:
    """Cuts a byte stream into frames. `feed` what was received, get the frames it completes."""

    def __init__(self, *, from_child: bool) -> None:
        self._decoder: Any = _decode_from_child if from_child else _decode_to_child
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The frames that are complete now, in order. Raises DecodeError when the stream is broken."""
        buffer = self._buffer
        buffer += data
        frames: list[Any] = []
        start, end = 0, len(buffer)
        decode = self._decoder.decode
        view = memoryview(buffer)
        try:
            while end - start >= 4:
                (length,) = _LENGTH.unpack_from(view, start)
                if length > FRAME_BYTES_MAX:
                    raise DecodeError(f"a frame of {length} bytes: the stream from this process is out of step")
                if end - start - 4 < length:
                    break
                frames.append(decode(view[start + 4 : start + 4 + length]))
                start += 4 + length
        except msgspec.MsgspecError as exc:
            raise DecodeError(f"broken frame: {exc}") from exc
        finally:
            view.release()
            if start:
                del buffer[:start]
        return frames
