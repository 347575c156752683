"""Tasks for `test_hops`, and a recorder of every function of the package that a worker's processes enter.

With HOPS_FOLDER set, importing this module installs the recorder: as the app's module it is imported first of all by
the worker's main process, so that the node, the children and their threads inherit it. Each process appends lines to
a file of its own: `nanoseconds kind file line function`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Any

from celeriac import Celeriac

PACKAGE = f"{os.sep}celeriac{os.sep}"
BROKERS = f"{os.sep}celeriac{os.sep}brokers{os.sep}"

app = Celeriac("hops", broker=os.environ.get("HOPS_STORE", "memory://hops"))


@app.task
def add(x: int, y: int) -> int:
    return x + y


class Recorder:
    """Writes what is entered."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._pid = 0
        self._file = -1

    def _write(self, kind: str, frame: FrameType) -> None:
        pid = os.getpid()
        if pid != self._pid:
            self._pid = pid
            flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
            self._file = os.open(f"{self._folder}/{pid}.hops", flags, 0o600)
        code = frame.f_code
        line = f"{time.monotonic_ns()} {kind} {code.co_filename} {code.co_firstlineno} {code.co_name}\n"
        os.write(self._file, line.encode())

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in {"call", "return"}:
            return
        code = frame.f_code
        if code is add_code:
            self._write("body" if event == "call" else "end", frame)
        elif PACKAGE not in code.co_filename:
            return
        elif event == "call":
            self._write("call", frame)
        elif BROKERS in code.co_filename and code.co_name in {"take", "settle"}:
            # Only the outermost return matters: the caller of the port has the answer now.
            if len(getattr(arg, "deliveries", arg or ())) > 0:
                self._write("taken", frame)
            if code.co_name == "settle" and frame.f_locals.get("settlements"):
                self._write("settled", frame)


def _code_of(task: Any) -> Any:
    run = getattr(task, "run", task)
    return getattr(run, "__func__", run).__code__


add_code = _code_of(add)

if "HOPS_FOLDER" in os.environ:
    recorder = Recorder(os.environ["HOPS_FOLDER"])
    threading.setprofile(recorder)
    sys.setprofile(recorder)
