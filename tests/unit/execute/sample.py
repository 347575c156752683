"""A task and a worker's surroundings, for the tests of this folder."""

from __future__ import annotations

from celeriac.model.call import Call
from celeriac.model.context import Place
from celeriac.model.policy import TaskPolicy
from celeriac.model.run import ResultPolicy
from celeriac.wire.protocol2 import encode_call
from celeriac.wire.records import decode_record
from celeriac.worker.env import Env, Seat
from celeriac.worker.perform import perform


class SampleTask:
    """A registered task around one function; remembers which hooks were called."""

    throws = ()
    own_hooks = frozenset({"before_start", "on_success", "on_failure", "on_retry", "after_return"})
    resultrepr_maxsize = 1024

    def __init__(self, body, name="sample", **options):
        self.name = name
        self._body = body
        self.policy = TaskPolicy(name, **options)
        self.calls = []

    def perform(self, args, kwargs):
        self.calls.append("body")
        return self._body(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        self.calls.append("before_start")

    def on_success(self, retval, task_id, args, kwargs):
        self.calls.append(("on_success", retval))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.calls.append(("on_failure", exc, einfo))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.calls.append(("on_retry", exc, einfo))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.calls.append(("after_return", status, einfo))

    @property
    def hooks(self):
        """Names of what was called, in order."""
        return [call if isinstance(call, str) else call[0] for call in self.calls]


def seat_of(**options):
    return Seat(Env(Place("node@here"), ResultPolicy(**options)))


def message_of(task="sample", args=(), kwargs=None, **more):
    call = Call(id="id-1", task=task, queue="celery", args=args, kwargs=kwargs or {}, **more)
    return encode_call(call)


def run(body, *args, seat=None, options=None, **more):
    """Perform a call of `body`; return the task, what came of it, and the decoded record (or None)."""
    task = SampleTask(body, **(options or {}))
    performed = perform({"sample": task}, message_of(args=args, **more), seat or seat_of())
    meta = decode_record(performed.records[0], ("json", "pickle")) if performed.records else None
    return task, performed, meta
