"""A desk to put one engine on: feeds it events, moves its clock, and sorts what it says."""

from __future__ import annotations

import pytest

from celeriac.core.engine.effects import Run, Settle, Take
from celeriac.core.engine.events import Arrival, ChildUp, Delivered, Finished, Now, Started, Tick
from celeriac.core.engine.step import new_state, start, step, wake_at
from celeriac.model.message import Ack, Delivery, Head, Message, Receipt, Record
from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy

TASKS = {
    policy.name: policy
    for policy in (
        TaskPolicy("late"),
        TaskPolicy("once", acks_late=False),
        TaskPolicy("final", acks_late=True, reject_on_worker_lost=False),
        TaskPolicy("back", acks_on_timeout=False, time_limit_s=1.0),
        TaskPolicy("quiet", ignore_result=True),
        TaskPolicy("errors", ignore_result=True, store_errors_even_if_ignored=True),
        TaskPolicy("limited", time_limit_s=2.0, soft_time_limit_s=1.0),
        TaskPolicy("await", pool="asyncio"),
        TaskPolicy("await once", pool="asyncio", acks_late=False),
        TaskPolicy("elsewhere", pool="gevent"),
    )
}
WALL = 1_700_000_000.0


class Desk:
    def __init__(self, *, children=1, slots=1, pools=None, **policy) -> None:
        one = PoolPolicy("prefork" if slots == 1 else "threads", children, slots, kills=slots == 1)
        self.policy = EnginePolicy(pools=pools or (one,), **policy)
        self.state = new_state(self.policy, TASKS)
        self.t = 1000.0
        self.keys = 0
        self.said = start(self.state, self.now())

    def now(self):
        return Now(self.t, WALL + self.t)

    def step(self, *events):
        self.said = step(self.state, events, self.now())
        return self.said

    def tick(self, after_s=0.0):
        self.t += after_s
        return self.step(Tick())

    def tick_when_due(self):
        at = wake_at(self.state, self.now())
        assert at is not None
        return self.tick(max(0.0, at - self.t))

    def up(self, *children, slots=1):
        return self.step(*(ChildUp(child, slots) for child in children or (1,)))

    def arrival(self, task="late", crashes=0, cancelled=False, fault=None, **head):
        self.keys += 1
        name = f"id{self.keys}"
        message = Message(name, task, "q", b"{}", b"", reply_to="me")
        delivery = Delivery(message, Receipt(self.keys, 1), crashes, cancelled=cancelled)
        return Arrival(delivery, None if fault else Head(name, task, **head), fault)

    def deliver(self, *tasks, **options):
        """Deliver one message per task name; the jobs that are run for it."""
        self.step(Delivered(tuple(self.arrival(task, **options) for task in tasks)))
        return self.jobs()

    def started(self, job, child=1):
        return self.step(Started(child, job.seq, self.t))

    def finished(self, job, child=1, state="SUCCESS", verdict=None, **more):
        record = Record(job.arrival.delivery.message.id, state, b"r")
        return self.step(Finished(child, job.seq, state, verdict or Ack(), 0.001, (record,), **more))

    # what it said last

    def of(self, kind):
        return [effect for effect in self.said if isinstance(effect, kind)]

    def jobs(self, child=None):
        return [job for run in self.of(Run) if child in (None, run.child) for job in run.jobs]

    def items(self):
        return [item for settle in self.of(Settle) for item in settle.items]

    def item(self):
        (item,) = self.items()
        return item

    def asked(self):
        takes = self.of(Take)
        return takes[-1].limit if takes else None


@pytest.fixture
def desk():
    """Makes a desk of the given policy."""
    return Desk
