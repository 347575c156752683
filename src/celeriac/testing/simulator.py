"""Whole clusters from a seed: real engines, everything else simulated, in one thread under a fake clock.

`simulate(seed)` builds a cluster (store, nodes, children, tasks), lets crashes, hangs, stops, clock jumps, outages and
operators loose on it, waits until nothing is left to do, and returns what the checkers found. A seed always gives the
same run. To see one: ``python -m celeriac.testing.simulator SEED``.
"""

from __future__ import annotations

import sys

from msgspec import Struct

from celeriac.core.engine.events import Cancelled, Resize
from celeriac.model.message import Message
from celeriac.testing.simulator_checks import safety_checkers
from celeriac.testing.simulator_node import SimNode
from celeriac.testing.simulator_plan import Fault, Plan, TaskPlan, plan_of
from celeriac.testing.simulator_promptness import Promptness
from celeriac.testing.simulator_sharing import sharing_checkers
from celeriac.testing.simulator_world import Fact, Watcher, World

PROBE_S = 0.025
"""Promptness is judged this often."""
_SWEEP_S = 0.5
_QUIET_WITHIN_S = 45.0
"""A healthy cluster must be through with everything in this time: three crashes, leases, long tasks and limits."""
_GRACES: tuple[float | None, ...] = (None, 0.0, 0.3, 2.0, 10.0)
_TURNS_MAX = 20_000
"""A simulation that takes more turns than this in one simulated second goes round in circles."""


class Report(Struct, frozen=True):
    """What came of one simulation."""

    seed: int
    violations: tuple[str, ...]
    history: tuple[Fact, ...]
    ended_at: float

    def text(self) -> str:
        """For people: what went wrong, and how to see it again."""
        if not self.violations:
            return f"seed {self.seed}: all rules held, {len(self.history)} facts in {self.ended_at:.1f} simulated s"
        listed = "\n".join(f"  - {violation}" for violation in self.violations[:10])
        return f"seed {self.seed}:\n{listed}\nreplay: python -m celeriac.testing.simulator {self.seed}"


class Cluster:
    """The nodes of one world, what is done to them, and its end."""

    def __init__(self, world: World, promptness: Promptness) -> None:
        self.world = world
        self.plan: Plan = world.plan
        self.nodes: dict[int, SimNode] = {}
        self._next_node = 1
        self._promptness = promptness
        self._expected = 0
        self.done = False
        self._ending = False
        world.takers = self._ring
        for _ in range(self.plan.nodes):
            self._start_later(world.rng.uniform(0.0, 0.3))
        for task in self.plan.tasks:
            if not task.sent_by:
                world.at(task.at, self._publish, task)
        for fault in self.plan.faults:
            world.at(fault.at, self._strike, fault)
        last_task = max((task.at + task.delay_s for task in self.plan.tasks), default=0.0)
        last_fault = max((fault.at + 5.0 for fault in self.plan.faults), default=0.0)
        self.healthy_at = max(last_task, last_fault)
        world.at(self.healthy_at, self._heal)
        world.after(PROBE_S, self._probe)
        world.after(_SWEEP_S, self._sweep)

    def _start_later(self, delay_s: float) -> None:
        self._expected += 1
        self.world.after(delay_s, self._start)

    def _start(self) -> None:
        self._expected -= 1
        if self._ending:
            return
        node = SimNode(self.world, self._next_node, self._gone)
        self._next_node += 1
        self.nodes[node.id] = node

    def _gone(self, node: SimNode) -> None:
        self.nodes.pop(node.id, None)
        if not self._ending:
            self._start_later(self.world.rng.uniform(0.05, 2.0))

    def _publish(self, task: TaskPlan) -> None:
        eta_at = self.world.now + task.delay_s if task.delay_s else None
        self.world.store.publish(Message(task.id, task.task, "q", b"", b"", eta_at=eta_at), self.world.now)

    def _ring(self) -> None:
        nodes = list(self.nodes.values())
        self.world.rng.shuffle(nodes)
        for node in nodes:
            node.claim()

    def _sweep(self) -> None:
        if self.done:
            return
        world = self.world
        world.after(_SWEEP_S, self._sweep)
        if world.store.down_until > world.now:
            return
        for number, until in list(world.store.lease_until.items()):
            node = self.nodes.get(number)
            if until >= world.now:
                continue
            running = node.running_receipts() if node is not None else []
            for receipt in running:
                row = world.store.held(receipt, number)
                if row is not None:
                    world.tell(Fact(world.now, "crashed", number, 0, row.message.id, 0, receipt))
            world.store.sweep(number, running, world.now)

    # ------------------------------------------------------------ what goes wrong

    def _strike(self, fault: Fault) -> None:
        nodes = list(self.nodes.values())
        if not nodes:
            return
        node = nodes[fault.a % len(nodes)]
        world = self.world
        if fault.kind == "kill_child":
            children = [child for child in node.children.values() if child.alive]
            if children:
                children[int(fault.b * len(children))].die("signal 9 (SIGKILL)", False)
        elif fault.kind == "kill_node":
            node.die()
        elif fault.kind == "kill_all":
            for each in nodes:
                each.die()
        elif fault.kind == "hang":
            node.hang()
            world.after(0.3 + 11.0 * fault.b, node.resume)
        elif fault.kind == "jump":
            node.wall_offset += (fault.b - 0.5) * 7200.0
        elif fault.kind == "stop":
            grace_s = _GRACES[fault.a % len(_GRACES)]
            if grace_s is None and any(task.waits_for for task in self.plan.tasks):
                grace_s = 10.0  # what waits for tasks that nobody takes any more would wait for ever
            if fault.b < 0.3 and grace_s is not None:
                node.stop_while_claiming = grace_s
            else:
                node.stop(grace_s)
            if fault.b > 0.7:
                world.after(fault.b, node.stop, 0.0)
        else:
            self._strike_store(fault, node)

    def _strike_store(self, fault: Fault, node: SimNode) -> None:
        world = self.world
        if fault.kind == "outage":
            world.store.down_until = world.now + 0.2 + 3.0 * fault.b
            world.at(world.store.down_until + 0.001, self._ring)
        elif fault.kind == "resize":
            pool = self.plan.policy.pools[fault.a // 5 % len(self.plan.policy.pools)]
            node.targets[pool.name] = fault.a % 5
            node.hear(Resize(fault.a % 5, pool.name))
        elif fault.kind == "steal":
            claimed = [row for claims in world.store.claims.values() for row in claims.values()]
            if claimed:
                world.store.steal(claimed[int(fault.b * len(claimed))], world.now)
        elif fault.kind == "slow_commits":
            node.commit_s = 0.2
        else:
            self._cancel(fault)

    def _cancel(self, fault: Fault) -> None:
        world = self.world
        tasks = [task.id for task in self.plan.tasks]
        chosen = tuple(sorted({tasks[(fault.a + step) % len(tasks)] for step in range(1 + fault.a % 3)}))
        running = [
            body.plan.id
            for node in self.nodes.values()
            for child in node.children.values()
            for body in child.running.values()
            if child.alive
        ]
        if running and fault.b < 0.7:
            chosen = (running[fault.a % len(running)],)
        world.store.cancelled.update(chosen)
        for task in sorted(chosen):
            world.tell(Fact(world.now, "cancelled", task=task, flag=fault.kind == "terminate"))
        for node in self.nodes.values():
            world.after(world.lag(0.001), node.hear, Cancelled(chosen, terminate=fault.kind == "terminate"))

    def _heal(self) -> None:
        for node in list(self.nodes.values()):
            node.resume()
            node.commit_s = 0.0015
            for pool in self.plan.policy.pools:
                if node.targets[pool.name] != pool.children:
                    node.targets[pool.name] = pool.children
                    node.hear(Resize(pool.children, pool.name))
        self._ring()

    # ------------------------------------------------------------ the end

    def _quiet(self) -> bool:
        store = self.world.store
        busy = store.ready or any(store.claims.values()) or self._expected
        return not busy and all(node.at_rest() for node in self.nodes.values())

    def _probe(self) -> None:
        world = self.world
        if self.done:
            return
        world.after(PROBE_S, self._probe)
        self._promptness.probe(world, self.nodes)
        if self._ending:
            self.done = not self.nodes or world.now > self.healthy_at + _QUIET_WITHIN_S + 10.0
            return
        late = world.now > self.healthy_at + _QUIET_WITHIN_S
        if world.now > self.healthy_at + 0.2 and (late or self._quiet()):
            if late:
                world.violation("the cluster is healthy again, but does not come to the end of its work")
            self._ending = True
            for node in self.nodes.values():
                node.stop(1.0)


def simulate(seed: int, plan: Plan | None = None) -> Report:
    """Run the cluster of this seed (or of this plan) to its end and judge it."""
    promptness = Promptness()
    watchers: list[Watcher] = [*safety_checkers(), *sharing_checkers(), promptness]
    world = World(plan if plan is not None else plan_of(seed), watchers)
    cluster = Cluster(world, promptness)
    turns, second = 0, 0.0
    try:
        while not cluster.done and world.turn():
            turns += 1
            if world.now >= second:
                turns, second = 0, world.now + 1.0
            if turns > _TURNS_MAX:
                world.violation(f"more than {_TURNS_MAX} turns in a second: something goes round in circles")
                break
    except AssertionError as error:
        world.violation(f"an invariant of the engine broke: {error!r}")
    for node in cluster.nodes.values():
        world.violation(f"node {node.id} did not end")
    for watcher in watchers:
        watcher.end(world)
    return Report(seed, tuple(world.violations), tuple(world.history), world.now)


def main(arguments: list[str]) -> int:
    """Replay seeds and show what happened."""
    status = 0
    for argument in arguments:
        report = simulate(int(argument))
        for fact in report.history:
            receipt = "" if fact.receipt is None else f" {fact.receipt.key}/{fact.receipt.attempt}"
            place = f"node {fact.node} child {fact.child} {fact.task}#{fact.seq}{receipt}"
            note = f" {fact.state}" * bool(fact.state) + f" {fact.number:g}" + " yes" * fact.flag
            sys.stdout.write(f"{fact.at:9.4f} {fact.what:<12} {place}{note}\n")
        sys.stdout.write(report.text() + "\n")
        status |= bool(report.violations)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
