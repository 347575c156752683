"""Others who use the same store: threads of this process, and processes that can be killed.

A conformance test is mostly a conversation between several users of one store. `Call` is one verb
under way on another thread; `Client` is a whole process that does one verb after another on request,
until it is closed, stopped or killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, Union

import msgspec

from celeriac.model.message import Delivery, Depth, Receipt, Record, Settled
from celeriac.testing.client_program import HEADER, Answer, Site

T = TypeVar("T")

SCALE_VARIABLE = "CELERIAC_TEST_SCALE"
"""How many times slower than a quiet machine this one is; every bound of a suite is multiplied by it."""

_START_BOUND_S = 20.0
"""A new interpreter on a loaded machine may take seconds to import."""
_END_BOUND_S = 5.0
_LOOK_S = 0.01
_SETTLE_IN_S = 0.05


def scale() -> float:
    """The factor on bounds, from ``CELERIAC_TEST_SCALE``."""
    return float(os.environ.get(SCALE_VARIABLE, "1"))


def wait_until(condition: Callable[[], T], bound_s: float, what: str | Callable[[], str]) -> T:
    """Look until `condition` gives something true, and return it. Raises AssertionError at the bound."""
    deadline = time.monotonic() + bound_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {bound_s:.1f} s in vain until {told}")
        let_pass(_LOOK_S)


def let_pass(seconds: float) -> None:
    """Let real time pass, for contracts that speak of it (leases, lifetimes, due times)."""
    threading.Event().wait(seconds)


class Call(Generic[T]):
    """A function under way on a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._function())
        except BaseException as exc:  # carried over to the thread that asks
            self._error = exc

    @property
    def running(self) -> bool:
        """True until the function has returned or raised."""
        return self._thread.is_alive()

    def settle_in(self) -> None:
        """Give the function a moment to come to where it blocks, if it does."""
        self._thread.join(_SETTLE_IN_S)

    def result(self, bound_s: float) -> T:
        """What the function returned or raised. Raises AssertionError if it still runs at the bound."""
        self._thread.join(bound_s)
        if self._thread.is_alive():
            raise AssertionError(f"the call is still running after {bound_s:.1f} s")
        if self._error is not None:
            raise self._error
        return self._values[0]


def adapter_path(adapter: Any) -> str:
    """The class as another process can import it: ``module:name``."""
    return f"{adapter.__module__}:{adapter.__qualname__}"


_ANSWERS: Mapping[str, Any] = {
    "take": list[Delivery],
    "settle": Settled,
    "extend": list[Receipt],
    "depth": list[Depth],
    "churn": list[tuple[str, int]],
    "publish_on": list[str],
    "write_on": list[str],
    "relay_on": list[str],
    "read": list[Union[Record, None]],
    "wait": list[Record],
}
"""Answers that need types to be rebuilt; all others are plain values."""


class Client:
    """A process with one adapter opened in it, driven from here. Use `ready` before anything else.

    :param site: which adapter, where
    """

    def __init__(self, site: Site) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        # A client has its own interpreter rather than a fork: nothing of this process may leak into it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "celeriac.testing.client_program", msgspec.json.encode(site).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self._asked: deque[str] = deque(["open"])
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ready(self) -> Client:
        """Return itself when its adapter is open."""
        self.answer(_START_BOUND_S)
        return self

    def ask(self, verb: str, *arguments: object) -> None:
        """Have a verb done; `answer` tells what came of it."""
        frame = msgspec.msgpack.encode((verb, arguments))
        if self._process.stdin is None:  # pragma: no cover - we asked for a pipe
            raise AssertionError("the client has no input")
        self._process.stdin.write(HEADER.pack(len(frame)) + frame)
        self._process.stdin.flush()
        self._asked.append(verb)

    def answer(self, bound_s: float = 10.0) -> Any:
        """The answer to the oldest verb that is still unanswered.

        Raises AssertionError at the bound or if the verb raised, EOFError if the process is gone.
        """
        verb = self._asked.popleft()
        return self._value(verb, bound_s)

    def call(self, verb: str, *arguments: object) -> Any:
        """`ask` and `answer`."""
        self.ask(verb, *arguments)
        return self.answer()

    def confirmed(self, bound_s: float = 10.0) -> list[str]:
        """What the ``publish_on``, ``write_on`` or ``relay_on`` under way has confirmed next. EOFError after its death."""
        ids: list[str] = self._value("publish_on", bound_s)
        return ids

    def told(self, verb: str, bound_s: float = 10.0) -> Any:
        """What the verb under way tells next."""
        return self._value(verb, bound_s)

    def last_words(self) -> list[str]:
        """After `kill`: all that had been confirmed and was not read yet."""
        ids: list[str] = []
        while True:
            try:
                ids.extend(self.confirmed())
            except EOFError:
                return ids

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it as ``kill -9`` does; return when the kernel has cleaned up after it."""
        self._process.kill()
        self._process.wait(_END_BOUND_S * scale())

    def close(self) -> None:
        """End it in peace, or kill it if it does not end. Idempotent."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is not None and not stdin.closed:
            try:
                stdin.close()
            except BrokenPipeError:
                self._process.kill()  # it is dead already; this only makes sure
        try:
            self._process.wait(_END_BOUND_S * scale())
        except subprocess.TimeoutExpired:
            self.kill()
        if stdout is not None:
            stdout.close()

    def _value(self, verb: str, bound_s: float) -> Any:
        deadline = time.monotonic() + bound_s * scale()
        length = HEADER.unpack(self._exactly(HEADER.size, deadline, verb))[0]
        answer = msgspec.msgpack.decode(self._exactly(length, deadline, verb), type=Answer)
        if answer.error:
            raise AssertionError(f"{verb} in process {self.pid} raised {answer.error}")
        kind = _ANSWERS.get(verb)
        return answer.value if kind is None else msgspec.convert(answer.value, kind)

    def _exactly(self, count: int, deadline: float, verb: str) -> bytes:
        if self._process.stdout is None:  # pragma: no cover - we asked for a pipe
            raise AssertionError("the client has no output")
        descriptor = self._process.stdout.fileno()
        while len(self._buffer) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                raise AssertionError(f"process {self.pid} did not answer {verb!r} in time")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise EOFError(f"process {self.pid} ended before it answered {verb!r}")
            self._buffer += chunk
        head, self._buffer = self._buffer[:count], self._buffer[count:]
        return head
