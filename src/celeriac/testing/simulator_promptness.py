"""What must happen soon: nobody waits while somebody is idle, limits hold, stops end, the dead are replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import inf

from celeriac.model.message import Receipt
from celeriac.testing.simulator_node import SimNode
from celeriac.testing.simulator_world import Fact, World

READY_WAIT_S = 0.1
"""No message that is due waits longer than this while a slot is idle."""
RESERVED_WAIT_S = 0.4
"""No reserved job waits longer than this in a child while a slot is idle: the engine's patience, and two journeys."""
CONCLUDE_WAIT_S = 5.0
"""A failure path, whose task is over, may wait so long for a child."""
FED_S = 0.02
"""A node that handed a job out so lately is not idle between two looks at it, but quick."""
_LINKS_S = 0.03
_CROWD_S = 0.9
"""What slow links may add, in worlds that have them."""
_STOP_MORE_S = 2.0
_REPLACED_WITHIN_S = 3.0
_LIMIT_MORE_S = 0.3


class Promptness:
    """All rules that bound a wait."""

    def __init__(self) -> None:
        self._idle_since: dict[int, float] = {}
        self._confirming: dict[int, set[Receipt]] = defaultdict(set)
        self._broken: set[tuple[int, int]] = set()
        self._began: dict[tuple[int, int, int], Fact] = {}
        self._disturbed_at: dict[int, float] = defaultdict(float)
        """When a node last hung."""
        self._ends_by: dict[int, float] = {}
        self._short_since: dict[int, float] = {}
        self._ended_on: set[int] = set()
        self._fed_at: dict[int, float] = defaultdict(float)
        """When a node last handed something to a child."""
        self._down_at = -inf
        self._terminated_at: dict[str, float] = {}
        self._crashed: set[Receipt] = set()
        """Claims whose failure path waits for a child to run it."""
        self._complained = 0
        self._nodes: Mapping[int, SimNode] = {}
        self._unplaced_since: dict[tuple[int, Receipt], float] = {}

    def see(self, world: World, fact: Fact) -> None:
        """Take in one fact."""
        what, node = fact.what, fact.node
        if what == "settle" and fact.flag and fact.receipt is not None:
            self._confirming[node].add(fact.receipt)
        elif what in {"run", "stale"} and fact.receipt is not None:
            self._confirming[node].discard(fact.receipt)
            self._fed_at[node] = fact.at
        elif what == "interrupt" and fact.state != "soft":
            self._broken.add((node, fact.child))
        elif what == "cancelled" and fact.flag:
            self._terminated_at.setdefault(fact.task, fact.at)
        elif what == "began":
            self._began[node, fact.child, fact.seq] = fact
        elif what in {"ended", "cut", "crashed"}:
            self._ended_on.add(node)
            if what != "ended" and fact.receipt is not None:
                self._crashed.add(fact.receipt)
            if not fact.flag:
                self._judge_limits(world, fact)
        elif what in {"node_hung", "node_resumed"}:
            self._disturbed_at[node] = inf if what == "node_hung" else fact.at
            self._ends_by.pop(node, None)
        elif what == "stop" and fact.number >= 0 and self._disturbed_at[node] != inf:
            ends_by = fact.at + fact.number + _STOP_MORE_S + (_CROWD_S if world.plan.crowded else 0.0)
            self._ends_by[node] = min(self._ends_by.get(node, inf), ends_by)
        elif what in {"exit", "node_exited", "node_killed"}:
            self._ends_by.pop(node, None)
        elif what == "take":
            self._judge_take(world, fact)

    # ------------------------------------------------------------ limits

    def _judge_limits(self, world: World, fact: Fact) -> None:
        began = self._began.pop((fact.node, fact.child, fact.seq), None)
        if began is None or self._disturbed_at[fact.node] >= began.at:
            return
        plan = world.tasks[fact.task]
        took_s = fact.at - began.at
        more_s = _LIMIT_MORE_S + (_CROWD_S if world.plan.crowded else 0.0)
        policy = world.plan.policy
        terminated_at = max(self._terminated_at.get(fact.task, inf), began.at)
        patience_s = more_s + policy.interrupt_wait_s + (0.0 if policy.pools[0].kills else 5.0)
        if fact.at > terminated_at + patience_s:
            world.violation(f"{fact.task} ran for {fact.at - terminated_at:.2f} s after it was to be terminated")
        if plan.hard_s is not None:
            bound_s = plan.hard_s + more_s + policy.interrupt_wait_s
            bound_s += 0.0 if policy.pools[0].kills else 5.0
            if took_s > bound_s:
                world.violation(f"{fact.task} ran {took_s:.2f} s, its hard limit is {plan.hard_s:g} s")
        if plan.soft_s is not None and not plan.stubborn and took_s > plan.soft_s + more_s:
            world.violation(f"{fact.task} ran {took_s:.2f} s, its soft limit is {plan.soft_s:g} s")

    # ------------------------------------------------------------ asking

    def _judge_take(self, world: World, fact: Fact) -> None:
        policy = world.plan.policy
        limit = fact.number
        if limit > policy.batch_max:
            world.violation(f"node {fact.node} asks for {limit:g} at once")
        if not limit:
            return
        node = self._nodes.get(fact.node)
        if node is None:
            return
        children = [child for child in node.children.values() if child.alive and child.up]
        held = sum(len(child.queue) + len(child.running) for child in children)
        slots = sum(child.slots for child in children)
        most = len(children) * max(policy.depth_max, policy.pools[0].slots)
        if policy.prefetch_multiplier:
            most = slots * policy.prefetch_multiplier
        elif policy.prefetch_multiplier is None and fact.node not in self._ended_on:
            most = slots
        # A child that died is still reckoned with until the node has heard of it.
        dying = any(not child.alive for child in node.children.values() if child.id in node.state.children)
        if held + limit > most and not dying:
            world.violation(f"node {fact.node} holds {held}, asks for {limit:g} and has room for {most}")

    # ------------------------------------------------------------ probing

    def probe(self, world: World, nodes: Mapping[int, SimNode]) -> None:
        """Judge the present moment; called many times a second."""
        self._nodes = nodes
        now = world.now
        if world.store.down_until > now:
            self._down_at = now
            for number in self._ends_by:
                self._ends_by[number] += 0.025
        idle_since = inf
        for node in nodes.values():
            idle_since = min(idle_since, self._idle(node, now))
            self._judge_stop(world, node)
            self._judge_children(world, node)
        if idle_since == inf or self._complained > 3:
            return
        more_s = _LINKS_S + (_CROWD_S if world.plan.crowded else 0.0)
        since = max(idle_since, self._down_at)
        due = min((row.ready_at for row in world.store.ready.values()), default=inf)
        if now - max(due, since) > READY_WAIT_S + more_s:
            self._complained += 1
            world.violation(f"a message is due since {due:.3f} s while a slot is idle since {since:.3f} s")
        self._judge_reserved(world, nodes, since, more_s)

    def _idle(self, node: SimNode, now: float) -> float:
        """Since when this node could run one more task; inf if it cannot."""
        children = sum(1 for child in node.children.values() if child.alive and not child.leaving)
        if node.hung or node.stopping or not node.alive or children > node.target:
            self._idle_since.pop(node.id, None)
            return inf
        free = -len(self._confirming[node.id])
        for child in node.children.values():
            if (node.id, child.id) not in self._broken:
                free += child.free_slots()
        if free <= 0 or now - self._fed_at[node.id] < FED_S:
            self._idle_since.pop(node.id, None)
            return inf
        return self._idle_since.setdefault(node.id, now)

    def _judge_reserved(self, world: World, nodes: Mapping[int, SimNode], since: float, more_s: float) -> None:
        if world.plan.policy.prefetch_multiplier is not None:
            return
        for node in nodes.values():
            if node.hung or node.stopping or node.fresh_since > since:
                continue
            self._judge_unplaced(world, node, since, more_s)
            for child in node.children.values():
                if not child.alive or not child.queue or child.quiet_until >= since:
                    continue
                queued_at = child.queue[0][1]
                if world.now - max(queued_at, since) > RESERVED_WAIT_S + 2 * more_s:
                    self._complained += 1
                    world.violation(
                        f"a job waits in child {child.id} of node {node.id} since {queued_at:.3f} s "
                        f"while a slot is idle since {since:.3f} s"
                    )

    def _judge_unplaced(self, world: World, node: SimNode, since: float, more_s: float) -> None:
        before = {key: at for key, at in self._unplaced_since.items() if key[0] != node.id}
        for receipt in node.unplaced() - self._confirming[node.id]:
            key = (node.id, receipt)
            at = before[key] = self._unplaced_since.get(key, world.now)
            patience_s = CONCLUDE_WAIT_S if receipt in self._crashed else RESERVED_WAIT_S
            if world.now - max(at, since, self._down_at) > patience_s + 2 * more_s:
                self._complained += 1
                world.violation(f"node {node.id} sits on {receipt} since {at:.3f} s while a slot is idle")
        self._unplaced_since = before

    def _judge_stop(self, world: World, node: SimNode) -> None:
        ends_by = self._ends_by.get(node.id, inf)
        if world.now > ends_by:
            self._ends_by[node.id] = inf
            world.violation(f"node {node.id} should have ended by {ends_by:.2f} s")

    def _judge_children(self, world: World, node: SimNode) -> None:
        alive = sum(1 for child in node.children.values() if child.alive and not child.leaving)
        if node.hung or node.stopping or alive >= node.target:
            self._short_since.pop(node.id, None)
            return
        since = self._short_since.setdefault(node.id, world.now)
        if world.now - since > _REPLACED_WITHIN_S:
            self._short_since[node.id] = inf
            world.violation(f"node {node.id} has {alive} children instead of {node.target} since {since:.2f} s")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""
