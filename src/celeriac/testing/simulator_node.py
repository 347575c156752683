"""A simulated node: the real engine in a shell of fake threads, sockets and commits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from celeriac.core.engine import step as engine
from celeriac.core.engine.effects import (
    Effect,
    Exit,
    Interrupt,
    Kill,
    Note,
    Recall,
    Retire,
    Run,
    Settle,
    SettleItem,
    Spawn,
    Take,
)
from celeriac.core.engine.events import Arrival, Confirmed, Delivered, Event, LeaseLost, Now, Started, Stop, Tick
from celeriac.model.message import Delivery, Head, Receipt
from celeriac.testing.simulator_child import SimChild
from celeriac.testing.simulator_plan import TASKS
from celeriac.testing.simulator_world import WALL, Fact, World

RENEW_S = 2.0
"""A node renews its lease this often."""
_THINK_S = 0.0001
"""A node gathers what comes within about this time into one step."""
_COMMIT_S = 0.0015
_CLAIM_S = 0.0008


class SimNode:
    """One node of the cluster, from its start to its exit or death."""

    def __init__(self, world: World, number: int, on_gone: Callable[[SimNode], None]) -> None:
        self.world = world
        self.id = number
        self.alive = True
        self.hung = False
        self.stopping = False
        self.exiting = False
        self.children: dict[int, SimChild] = {}
        self.held: dict[Receipt, str] = {}
        """Claims of this node that it has not settled: what it renews."""
        self.hunger = 0
        self.claiming = False
        self.stop_while_claiming: float | None = None
        """A grace: stop with it when the next messages are on their way here."""
        self.wall_offset = 0.0
        self.commit_s = _COMMIT_S
        self.pools = {pool.name: pool for pool in world.plan.policy.pools}
        self.targets = {pool.name: pool.children for pool in world.plan.policy.pools}
        self.fresh_since = world.now
        self._on_gone = on_gone
        self._inbox: list[Event] = []
        self._to_settle: deque[SettleItem] = deque()
        self._settling = False
        self._pump_at = float("inf")
        self.state = engine.new_state(world.plan.policy, TASKS)
        self._acts: dict[type[Effect], Callable[[Any], None]] = {
            Take: self._take,
            Spawn: self._spawn,
            Run: self._run,
            Recall: self._recall,
            Interrupt: self._interrupt,
            Kill: self._kill,
            Retire: self._retire,
            Settle: self._settle,
            Note: self._note,
            Exit: self._exit,
        }
        world.store.join(number, world.now)
        world.after(RENEW_S, self._renew)
        self._tell("node_up")
        self._carry(engine.start(self.state, self._time()))

    # ------------------------------------------------------------ the loop

    def _time(self) -> Now:
        return Now(self.world.now, self.world.now + WALL + self.wall_offset)

    def hear(self, event: Event) -> None:
        """An event for the next step."""
        if self.alive:
            self._inbox.append(event)
            self._pump_soon(self.world.now + self.world.rng.uniform(0.0, _THINK_S))

    def _pump_soon(self, at: float) -> None:
        if at < self._pump_at:
            self._pump_at = at
            self.world.at(at, self._pump, at)

    def _pump(self, at: float) -> None:
        if at != self._pump_at:
            return  # an earlier one was asked for after this
        self._pump_at = float("inf")
        if not self.alive or self.hung:
            return
        events = self._inbox
        self._inbox = []
        now = self._time()
        wake = engine.wake_at(self.state, now)
        if wake is not None and wake <= now.monotonic:
            marks: list[Started] = []
            for child in self.children.values():
                marks += child.marks()
            events = [*events, *marks, Tick()]
        if events:
            self._carry(engine.step(self.state, events, now))
            for event in events:
                if isinstance(event, LeaseLost):
                    for receipt in event.receipts:
                        self._tell("knows_lost", receipt=receipt)
                elif isinstance(event, Stop):
                    self._tell("stopping")
        wake = engine.wake_at(self.state, now)
        if wake is not None and self.alive:
            # A real shell sleeps at least a little, too: time must pass.
            self._pump_soon(max(wake, now.monotonic + 1e-6))

    def _carry(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._acts[type(effect)](effect)

    # ------------------------------------------------------------ effects on children

    def _spawn(self, effect: Spawn) -> None:
        self._tell("spawn", child=effect.child, state=effect.pool)
        self.children[effect.child] = SimChild(self.world, self, effect.child, self.pools[effect.pool])

    def _run(self, effect: Run) -> None:
        for job in effect.jobs:
            delivery = job.arrival.delivery
            task, concluding = delivery.message.id, job.conclude is not None
            self._tell("run", effect.child, task, job.seq, delivery.receipt, flag=concluding)
        child = self.children.get(effect.child)
        if child is not None:
            child.post("run", effect.jobs)

    def _recall(self, effect: Recall) -> None:
        child = self.children.get(effect.child)
        self._tell("recall", child=effect.child)
        if child is not None:
            child.post("recall", effect.seqs)

    def _interrupt(self, effect: Interrupt) -> None:
        child = self.children.get(effect.child)
        if child is None:
            return
        body = child.running.get(effect.seq)
        task = body.job.arrival.delivery.message.id if body is not None else ""
        self._tell("interrupt", child=effect.child, seq=effect.seq, state=effect.how, task=task)
        slipped = self.world.rng.random() < 0.05
        self.world.after(self.world.lag(0.0003), child.interrupt, effect.seq, effect.how, slipped)

    def _kill(self, effect: Kill) -> None:
        self._tell("kill", child=effect.child)
        child = self.children.get(effect.child)
        if child is not None:
            self.world.after(self.world.lag(0.0003), child.die, "signal 9 (SIGKILL)", True)

    def _retire(self, effect: Retire) -> None:
        self._tell("retire", child=effect.child)
        child = self.children.get(effect.child)
        if child is not None:
            child.post("retire")

    # ------------------------------------------------------------ effects on the store

    def _take(self, effect: Take) -> None:
        self._tell("take", number=float(effect.limit))
        self.hunger = effect.limit
        if effect.limit:
            self.world.after(self.world.lag(_CLAIM_S), self.claim)

    def claim(self) -> None:
        """The store has something and this node is hungry: claim, and let it arrive in a moment."""
        if not self.alive or self.hung or not self.hunger or self.claiming or self.exiting:
            return
        if self.world.store.down_until > self.world.now:
            return
        deliveries = self.world.store.take(self.id, self.hunger, self.world.now)
        if deliveries:
            self.claiming = True
            if self.stop_while_claiming is not None:
                self.world.after(0.0001, self.stop, self.stop_while_claiming)
                self.stop_while_claiming = None
            for delivery in deliveries:
                self.held[delivery.receipt] = delivery.message.id
            self.world.after(self.world.lag(_CLAIM_S), self._arrive, deliveries)

    def _arrive(self, deliveries: list[Delivery]) -> None:
        self.claiming = False
        self.hunger = 0
        self.hear(Delivered(tuple(self._arrival(delivery) for delivery in deliveries)))

    def _arrival(self, delivery: Delivery) -> Arrival:
        task = self.world.tasks[delivery.message.id]
        if task.fault:
            return Arrival(delivery, None, "not JSON")
        expires_at = None if task.expires_in_s is None else WALL + task.at + task.expires_in_s
        head = Head(
            task.id,
            task.task,
            expires_at=expires_at,
            time_limit_s=task.hard_s,
            soft_time_limit_s=task.soft_s,
            linked=task.linked,
        )
        return Arrival(delivery, head)

    def _settle(self, effect: Settle) -> None:
        for item in effect.items:
            self._tell("settle", receipt=item.receipt, flag=item.confirm)
        self._to_settle.extend(effect.items)
        self._settle_soon(self.commit_s)

    def _settle_soon(self, delay_s: float) -> None:
        if not self._settling:
            self._settling = True
            self.world.after(self.world.lag(delay_s), self._commit)

    def _commit(self) -> None:
        self._settling = False
        if not self.alive or self.hung:
            return
        store = self.world.store
        if store.down_until > self.world.now:
            self._settle_soon(max(0.01, store.down_until - self.world.now))
            return
        items = list(self._to_settle)
        self._to_settle.clear()
        stale = set(store.settle(self.id, items, self.world.now))
        asked: list[Receipt] = []
        for item in items:
            if item.receipt is not None:
                self.held.pop(item.receipt, None)
                if item.confirm:
                    asked.append(item.receipt)
        if asked:
            done = tuple(receipt for receipt in asked if receipt not in stale)
            lost = tuple(receipt for receipt in asked if receipt in stale)
            self.world.after(self.world.lag(0.0002), self.hear, Confirmed(done, lost))
        if self.exiting:
            self._go_if_done()

    def _renew(self) -> None:
        if not self.alive:
            return
        self.world.after(RENEW_S, self._renew)
        store = self.world.store
        if self.hung or store.down_until > self.world.now:
            return
        lost = store.extend(self.id, list(self.held), self.world.now)
        if lost:
            for receipt in lost:
                del self.held[receipt]
            self.world.after(self.world.lag(0.0002), self.hear, LeaseLost(tuple(lost)))

    def _note(self, effect: Note) -> None:
        self._tell("note", state=effect.action)

    # ------------------------------------------------------------ fate

    def stop(self, grace_s: float | None) -> None:
        """TERM."""
        if self.alive and not self.exiting:
            self.stopping = True
            self._tell("stop", number=-1.0 if grace_s is None else grace_s)
            self.hear(Stop(grace_s))

    def _exit(self, effect: Exit) -> None:
        self._tell("exit")
        self.exiting = True
        self.hunger = 0
        # Acknowledgements at start that were never confirmed must not be committed after the last word.
        kept = [item for item in self._to_settle if not item.confirm]
        for item in self._to_settle:
            if item.confirm and item.receipt is not None:
                self.held.pop(item.receipt, None)
        self._to_settle.clear()
        self._to_settle.extend(kept)
        self._go_if_done()

    def _go_if_done(self) -> None:
        if self._to_settle or self._settling or self.claiming or self._inbox or not self.alive:
            if self.alive:
                self.world.after(0.01, self._go_if_done)
            return
        for receipt in self.held:
            self._tell("left_behind", receipt=receipt)
        self._gone("node_exited")

    def hang(self) -> None:
        """SIGSTOP."""
        if self.alive:
            self.hung = True
            self._tell("node_hung")

    def resume(self) -> None:
        """SIGCONT."""
        if self.alive and self.hung:
            self.hung = False
            self.fresh_since = self.world.now
            self._tell("node_resumed")
            self._pump_at = float("inf")
            self._pump_soon(self.world.now)
            self.world.after(self.world.lag(_CLAIM_S), self.claim)
            if self._to_settle:
                self._settle_soon(self.commit_s)

    def die(self) -> None:
        """SIGKILL: its children die with it; what their bodies were in has crashed."""
        if not self.alive:
            return
        running = [receipt for child in self.children.values() if child.alive for receipt in child.receipts()]
        self.alive = False
        for child in self.children.values():
            child.die("the node is gone", False)
        self._gone("node_killed")
        store = self.world.store
        seen_at = self.world.now + 0.05
        if not self.world.plan.deaths_are_seen:
            seen_at = max(seen_at, store.lease_until.get(self.id, 0.0))
        self.world.at(seen_at, store.sweep, self.id, running, seen_at)

    def running_receipts(self) -> list[Receipt]:
        """What its children's shared pages show."""
        return [receipt for child in self.children.values() if child.alive for receipt in child.receipts()]

    def at_rest(self) -> bool:
        """True if nothing is on its way to, in, or from this node."""
        moving = self._inbox or self._to_settle or self._settling or self.claiming or self.stopping
        return not moving and not self.running_receipts() and self.state.idle()

    def unplaced(self) -> set[Receipt]:
        """Claims that are in no child and are not being settled: the engine sits on them."""
        placed = {item.receipt for item in self._to_settle}
        for child in self.children.values():
            if child.alive:
                placed.update(child.placed())
        return self.held.keys() - placed

    def _gone(self, what: str) -> None:
        self.alive = False
        self._tell(what)
        self._on_gone(self)

    def _tell(
        self,
        what: str,
        child: int = 0,
        task: str = "",
        seq: int = 0,
        receipt: Receipt | None = None,
        state: str = "",
        number: float = 0.0,
        flag: bool = False,
    ) -> None:
        self.world.tell(Fact(self.world.now, what, self.id, child, task, seq, receipt, state, number, flag))
