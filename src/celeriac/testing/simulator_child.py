"""A simulated child: slots, a queue of jobs in order, bodies that end, crash, hang or do not listen."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from celeriac.core.engine.effects import Job
from celeriac.core.engine.events import ChildUp, Died, Event, Finished, Resumes, Returned, Started, Waits
from celeriac.model.message import Ack, Bury, Message, Receipt, Record, Verdict
from celeriac.model.policy import PoolPolicy
from celeriac.model.states import FAILURE, RETRY, SUCCESS
from celeriac.testing.simulator_plan import TaskPlan
from celeriac.testing.simulator_world import Fact, World

_ACK = Ack()
_LINK_S = 0.0002
"""A frame from child to node, or back, takes about this long."""
_CLEAN_UP_S = 0.001
"""A body that was interrupted needs this long to end."""


class Parent(Protocol):
    """Whom a child belongs to."""

    id: int
    alive: bool

    def hear(self, event: Event) -> None:
        """Something came from a child."""
        ...


class Body:
    """One run of a task in a slot."""

    __slots__ = ("at", "job", "plan", "shown", "waiting")

    def __init__(self, job: Job, plan: TaskPlan, at: float) -> None:
        self.job = job
        self.plan = plan
        self.at = at
        self.shown = False
        self.waiting = False


class SimChild:
    """One process with slots."""

    def __init__(self, world: World, parent: Parent, number: int, pool: PoolPolicy) -> None:
        self.world = world
        self.parent = parent
        self.id = number
        self.pool = pool
        self.slots = pool.slots
        self.alive = True
        self.up = False
        self.leaving = False
        self.queue: deque[tuple[Job, float]] = deque()
        self.running: dict[int, Body] = {}
        self.tasks_left = world.plan.max_tasks_per_child
        self.idle_since = world.now
        self.quiet_until = 0.0
        """Its process hogs: recalls are answered after this."""
        self._hears_at = 0.0
        self._says_at = 0.0
        rng = world.rng
        delay = rng.uniform(0.002, 0.06)
        if rng.random() < 0.03 and world.now < 8.0:
            world.after(delay, self.die, "exit code 1: could not import", False)
        else:
            world.after(delay, self._come_up)

    # ------------------------------------------------------------ from and to the node

    def post(self, act: str, *args: object) -> None:
        """A frame from the node: arrives later, in order."""
        self._hears_at = max(self._hears_at, self.world.now + self.world.lag(_LINK_S))
        self.world.at(self._hears_at, getattr(self, act), *args)

    def _say(self, event: Event) -> None:
        self._says_at = max(self._says_at, self.world.now + self.world.lag(_LINK_S))
        self.world.at(self._says_at, self.parent.hear, event)

    def _come_up(self) -> None:
        if self.alive:
            self.up = True
            self.idle_since = self.world.now
            self._say(ChildUp(self.id, self.slots))

    def run(self, jobs: tuple[Job, ...]) -> None:
        """Queue these jobs."""
        if not self.alive:
            return
        now = self.world.now
        self.queue.extend((job, now) for job in jobs)
        self._advance()

    def recall(self, seqs: tuple[int, ...]) -> None:
        """Give back those that have not begun; late, if a body hogs the process."""
        if not self.alive:
            return
        if self.quiet_until > self.world.now:
            self.world.at(self.quiet_until, self.recall, seqs)
            return
        asked = set(seqs)
        back = tuple(job.seq for job, _ in self.queue if job.seq in asked)
        kept = [entry for entry in self.queue if entry[0].seq not in asked]
        self.queue.clear()
        self.queue.extend(kept)
        self._say(Returned(self.id, back))

    def interrupt(self, seq: int, how: str, slipped: bool) -> None:
        """Break into a body. `slipped`: the signal comes after it, whatever runs then."""
        body = self.running.get(seq)
        if not self.alive:
            return
        if how == "soft":
            if body is not None and not body.plan.stubborn and body.job.conclude is None:
                self.world.after(_CLEAN_UP_S, self._end, seq, body, FAILURE, _ACK)
        elif self.pool.kills:
            if how == "terminate" and body is not None and body.plan.stubborn:
                return  # it has a handler for the signal
            if body is not None or (slipped and self.running):
                self.die("signal 9 (SIGKILL)", True)
        elif body is not None and not body.plan.stubborn:
            self.world.after(_CLEAN_UP_S, self._end, seq, body, FAILURE, _ACK)

    def retire(self) -> None:
        """End when nothing runs."""
        self.leaving = True
        if self.alive and self.queue:
            back = tuple(job.seq for job, _ in self.queue)
            self.queue.clear()
            self._say(Returned(self.id, back))
        self._leave_if_empty()

    def marks(self) -> list[Started]:
        """What the shared page shows that it did not show before."""
        fresh = [body for body in self.running.values() if not body.shown]
        for body in fresh:
            body.shown = True
        return [Started(self.id, body.job.seq, body.at) for body in fresh]

    def die(self, reason: str, ordered: bool) -> None:
        """The process is gone. `ordered`: the node wanted it."""
        if not self.alive:
            return
        self.alive = False
        company = sum(1 for body in self.running.values() if body.job.conclude is None) if self.parent.alive else 0
        for seq, body in self.running.items():
            what = "cut" if ordered else "crashed"
            self._tell(what, body.job, seq, company)
        self._tell_child("child_died")
        if self.parent.alive:
            self._say(Died(self.id, tuple(self.running), reason))

    # ------------------------------------------------------------ bodies

    def _advance(self) -> None:
        while self.queue and len(self.running) < self._width() and self.alive and not self.leaving:
            self._begin(self.queue.popleft()[0])

    def _width(self) -> int:
        """How many bodies it may be in: where they share the process, those that wait do not count."""
        waits = 0 if self.pool.kills else sum(1 for body in self.running.values() if body.waiting)
        return self.slots + min(waits, max(self.slots, self.world.plan.policy.extra_max))

    def _begin(self, job: Job) -> None:
        world = self.world
        plan = world.tasks[job.arrival.delivery.message.id]
        body = Body(job, plan, world.now)
        self.running[job.seq] = body
        if job.conclude is not None:
            self._tell("concluding", job, job.seq)
            if world.rng.random() < 0.02:
                world.after(0.001, self._crash, job.seq, body)
            else:
                world.after(0.001, self._end, job.seq, body, job.conclude.state, _ACK)
            return
        self._tell("began", job, job.seq)
        duration_s = plan.duration_s
        if plan.kind == "back" and job.arrival.delivery.redelivered:
            duration_s = 0.001  # else what goes back when it is over its limit would do so for ever
        crashes = plan.course == "crash" or (plan.course == "crash_once" and not job.arrival.delivery.redelivered)
        if crashes:
            world.after(duration_s / 2, self._crash, job.seq, body)
        elif plan.waits_for:
            world.after(duration_s / 2, self._send, job.seq, body)
        elif plan.course == "fail":
            verdict: Verdict = Bury("asked for") if plan.stubborn else _ACK
            world.after(duration_s, self._end, job.seq, body, FAILURE, verdict)
        elif plan.course == "retry" and not job.arrival.delivery.message.reply_to:
            world.after(duration_s, self._end, job.seq, body, RETRY, _ACK)
        elif plan.course != "hang" or (plan.kind == "back" and job.arrival.delivery.redelivered):
            if plan.hogs and self.slots == 1:
                self.quiet_until = world.now + duration_s
            world.after(duration_s, self._end, job.seq, body, SUCCESS, _ACK)

    def _send(self, seq: int, body: Body) -> None:
        """Send the tasks that this one waits for, if no run before this one did."""
        world = self.world
        if not self.alive or self.running.get(seq) is not body:
            return
        if world.store.down_until > world.now:
            world.at(world.store.down_until + 0.001, self._send, seq, body)
            return
        for sent in body.plan.waits_for:
            if sent not in world.published:
                world.store.publish(Message(sent, world.tasks[sent].task, "q", b"", b""), world.now)
        self._wait(seq, body)

    def _wait(self, seq: int, body: Body) -> None:
        world = self.world
        if not self.alive or self.running.get(seq) is not body:
            return
        missing = [sent for sent in body.plan.waits_for if sent not in world.ended]
        if missing and not body.waiting:
            body.waiting = True
            self._tell("waits", body.job, seq)
            self._say(Waits(self.id, seq))
            self._advance()
        if missing:
            world.waiters.setdefault(missing[0], []).append(lambda: self._wait(seq, body))
            return
        if body.waiting:
            body.waiting = False
            self._tell("resumes", body.job, seq)
            self._say(Resumes(self.id, seq))
        world.after(body.plan.duration_s / 2, self._end, seq, body, SUCCESS, _ACK)

    def _crash(self, seq: int, body: Body) -> None:
        if self.alive and self.running.get(seq) is body:
            self.die("signal 11 (SIGSEGV)", False)

    def _end(self, seq: int, body: Body, state: str, verdict: Verdict) -> None:
        if not self.alive or self.running.get(seq) is not body:
            return
        del self.running[seq]
        message = body.job.arrival.delivery.message
        self._tell("ended", body.job, seq)
        follow_ups: tuple[Message, ...] = ()
        if state == RETRY:
            # The mark of a second try; what a real retry would write into the headers.
            again = Message(message.id, message.task, message.queue, b"", b"", reply_to="again")
            follow_ups = (again,)
        records = () if body.plan.kind == "quiet" else (Record(message.id, state, b""),)
        if self.tasks_left is not None and body.job.conclude is None:
            self.tasks_left -= 1
        retiring = self.tasks_left is not None and self.tasks_left <= 0 and not self.leaving
        self._say(
            Finished(self.id, seq, state, verdict, self.world.now - body.at, records, follow_ups, retiring=retiring)
        )
        if retiring:
            self.retire()
        elif self.leaving:
            self._leave_if_empty()
        else:
            self._advance()
            if not self.running:
                self.idle_since = self.world.now

    def _leave_if_empty(self) -> None:
        if self.alive and not self.running:
            self.alive = False
            self._tell_child("child_died")
            self._say(Died(self.id, (), "exit code 0"))

    def free_slots(self) -> int:
        """How many slots could begin a job now."""
        if not self.up or not self.alive or self.leaving:
            return 0
        return max(0, self._width() - len(self.running) - len(self.queue))

    def active(self) -> int:
        """How many of its bodies do something."""
        return sum(1 for body in self.running.values() if not body.waiting)

    def receipts(self) -> list[Receipt]:
        """The claims whose bodies it is in, as the shared page shows them."""
        return [body.job.arrival.delivery.receipt for body in self.running.values() if body.job.conclude is None]

    def placed(self) -> list[Receipt]:
        """The claims that are in its hands."""
        jobs = [job for job, _ in self.queue] + [body.job for body in self.running.values()]
        return [job.arrival.delivery.receipt for job in jobs]

    def _tell(self, what: str, job: Job, seq: int, number: float = 0.0) -> None:
        delivery = job.arrival.delivery
        task, flag = delivery.message.id, job.conclude is not None
        self.world.tell(
            Fact(self.world.now, what, self.parent.id, self.id, task, seq, delivery.receipt, "", number, flag)
        )

    def _tell_child(self, what: str) -> None:
        self.world.tell(Fact(self.world.now, what, self.parent.id, self.id))
