"""Frames between a node and its children: a length, a check word, then one msgpack value.

Both words are 4 bytes, little-endian; the check word is the length with some bits turned. It tells at once when
somebody else wrote to the socket, such as a task that wrote to a descriptor not its own.

Both ends are the same release, so that the layout may change freely. The body of a message travels as the
bytes that came in.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, Union

import msgspec
from msgspec import Struct

from celeriac.model.errors import DecodeError
from celeriac.model.message import Message, Record, Verdict

_HEAD = struct.Struct("<II")
_TURNED = 0xC31E_41AC
FRAME_BYTES_MAX = 1 << 31
"""No frame is larger: what a length of 4 bytes leaves room for, with something to spare."""


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


class Break(Struct, frozen=True, gc=False, array_like=True, tag="break"):
    """Node to child, on the control socket: break into this job, and no other. For children of many slots; a process
    that a job has to itself gets a signal instead."""

    seq: int
    how: Literal["soft", "hard", "terminate"]
    signum: int = 15
    """What `terminate` was asked to send; the exception carries it."""


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


class Waits(Struct, frozen=True, gc=False, array_like=True, tag="waits"):
    """Child to node: this running job waits for the result of another one, and needs no slot meanwhile."""

    seq: int


class Resumes(Struct, frozen=True, gc=False, array_like=True, tag="resumes"):
    """Child to node: this job, which has waited, goes on."""

    seq: int


ToChild = Union[Jobs, RecallJobs, Leave, Break]
FromChild = Union[Hello, Done, Keep, Back, Waits, Resumes]

_encode = msgspec.msgpack.Encoder().encode
_decode_to_child = msgspec.msgpack.Decoder(ToChild)
_decode_from_child = msgspec.msgpack.Decoder(FromChild)


def pack(frame: ToChild | FromChild) -> bytes:
    """A frame as bytes, length first. Raises ValueError for what cannot be put into one."""
    data = _encode(frame)
    length = len(data)
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} can travel between processes")
    return _HEAD.pack(length, length ^ _TURNED) + data


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
            while end - start >= _HEAD.size:
                length, check = _HEAD.unpack_from(view, start)
                if length ^ _TURNED != check:
                    raise DecodeError("somebody else wrote to the socket between this process and its child")
                if end - start - _HEAD.size < length:
                    break
                begin = start + _HEAD.size
                start = begin + length
                frames.append(decode(view[begin:start]))
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise DecodeError(f"broken frame: {exc}") from exc
        finally:
            view.release()
            if start:
                del buffer[:start]
        return frames
