"""What must happen soon: nobody waits while somebody is idle, limits hold, stops end, the dead are replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import inf

from celeriac.model.message import Receipt
from celeriac.model.policy import PoolPolicy
from celeriac.testing.simulator_child import SimChild
from celeriac.testing.simulator_node import SimNode
from celeriac.testing.simulator_store import Row
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
ASIDE_WAIT_S = 2.0
"""A message may be put off by this, though a slot is idle now and then: twice the longest pause."""
_BUDGET_S = 0.5
"""A node that waits for its budget looks again after this, at the latest."""
_COMPLAINTS_MAX = 3
_STOP_MORE_S = 2.0
_REPLACED_WITHIN_S = 4.5
"""Four deaths at the start, one after the other, cost 3.5 s."""
_SURPLUS_GOES_S = 8.0
"""A child that stood in for another may linger for some seconds."""
_LIMIT_MORE_S = 0.3


class Promptness:
    """All rules that bound a wait."""

    def __init__(self) -> None:
        self._idle_since: dict[tuple[int, str], float] = {}
        self._confirming: dict[int, set[Receipt]] = defaultdict(set)
        self._broken: set[tuple[int, int]] = set()
        self._began: dict[tuple[int, int, int], Fact] = {}
        self._disturbed_at: dict[int, float] = defaultdict(float)
        """When a node last hung."""
        self._ends_by: dict[int, float] = {}
        self._short_since: dict[tuple[int, str], float] = {}
        self._surplus_since: dict[tuple[int, str], float] = {}
        self._ended_on: set[int] = set()
        self._fed_at: dict[tuple[int, str], float] = defaultdict(float)
        """When a node last handed something to a child of a pool."""
        self._down_at = -inf
        self._resumed: list[float] = []
        """When jobs that waited went on; their nodes hear of it a little later."""
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
            self._fed(node, fact)
        elif what == "interrupt" and fact.state != "soft":
            self._broken.add((node, fact.child))
        elif what == "cancelled" and fact.flag:
            self._terminated_at.setdefault(fact.task, fact.at)
        elif what == "began":
            self._began[node, fact.child, fact.seq] = fact
        elif what in {"ended", "cut", "crashed"}:
            self._ended_on.add(node)
            if (what != "ended" or (node, fact.child) in self._broken) and fact.receipt is not None:
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
        elif what == "resumes":
            self._resumed.append(fact.at)
        elif what == "take":
            self._judge_take(world, fact)

    def _fed(self, node: int, fact: Fact) -> None:
        there = self._nodes.get(node)
        child = there.children.get(fact.child) if there is not None else None
        for pool in [child.pool.name] if child is not None else there.pools if there is not None else ():
            self._fed_at[node, pool] = fact.at

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
        neighbours_s = 0.0 if world.plan.pool_of(plan).kills else 5.0
        patience_s = more_s + policy.interrupt_wait_s + neighbours_s
        if fact.at > terminated_at + patience_s:
            world.violation(f"{fact.task} ran for {fact.at - terminated_at:.2f} s after it was to be terminated")
        if plan.hard_s is not None:
            bound_s = plan.hard_s + more_s + policy.interrupt_wait_s + neighbours_s
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
        lately_s = _LINKS_S + (_CROWD_S if world.plan.crowded else 0.0)
        per_slot = policy.prefetch_multiplier or 1
        if policy.prefetch_multiplier == 0 or (policy.prefetch_multiplier is None and fact.node in self._ended_on):
            most = sum(max(policy.depth_max, child.slots) for child in children)
        else:
            # For each job that waits another one may run, and goes on to run when the former goes on.
            most = sum(max(len(child.running), per_slot * _slots(child)) for child in children)
            most += per_slot * sum(1 for at in self._resumed if at > fact.at - lately_s)
        if len(policy.pools) > 1:
            most += policy.aside_max // 2 + sum(pool.children * pool.slots for pool in policy.pools if pool.on_demand)
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
        for node in nodes.values():
            self._judge_stop(world, node)
            self._note_unplaced(world, node)
            for pool in node.pools.values():
                self._judge_children(world, node, pool)
                self._judge_surplus(world, node, pool)
        for pool in world.plan.policy.pools:
            idle_since = min((self._idle(node, pool, now) for node in nodes.values()), default=inf)
            if idle_since < inf and self._complained <= _COMPLAINTS_MAX:
                self._judge_waiting(world, nodes, pool, max(idle_since, self._down_at))

    def _judge_waiting(self, world: World, nodes: Mapping[int, SimNode], pool: PoolPolicy, since: float) -> None:
        """A slot of this pool is idle since then: nobody may wait for one for long."""
        now = world.now
        more_s = _LINKS_S + (_CROWD_S if world.plan.crowded else 0.0)
        rows = [row for row in world.store.ready.values() if world.plan.pool_of(world.tasks[row.message.id]) is pool]
        due = min((row.ready_at for row in rows if not suspected(world, row)), default=inf)
        wait_s = READY_WAIT_S + more_s + budget_s(world)
        if now - max(due, since) > wait_s:
            self._complain(world, f"a message is due since {due:.3f} s while a slot is idle since {since:.3f} s")
        starved = min((row.due_at for row in rows if not suspected(world, row)), default=inf)
        if now - max(starved, since) > wait_s + ASIDE_WAIT_S * len(nodes):
            self._complain(
                world, f"a message is put off since {starved:.3f} s while a slot is idle since {since:.3f} s"
            )
        if world.plan.policy.prefetch_multiplier is None:
            for node in nodes.values():
                if not (node.hung or node.stopping or node.fresh_since > since):
                    self._judge_unplaced(world, node, pool, since, more_s)
                    self._judge_reserved(world, node, pool, since, more_s)

    def _complain(self, world: World, text: str) -> None:
        self._complained += 1
        world.violation(text)

    def _idle(self, node: SimNode, pool: PoolPolicy, now: float) -> float:
        """Since when this node could run one more task of this pool; inf if it cannot."""
        key = (node.id, pool.name)
        free = 0
        active = sum(child.active() for child in node.children.values() if child.alive and child.pool is pool)
        active += len(self._confirming[node.id])
        if not (node.hung or node.stopping or not node.alive) and active < node.targets[pool.name] * pool.slots:
            hosts = self._hosts(node, pool)
            free = sum(child.free_slots() for child in hosts if (node.id, child.id) not in self._broken)
            free -= len(self._confirming[node.id])
        if free <= 0 or now - self._fed_at[key] < FED_S:
            self._idle_since.pop(key, None)
            return inf
        return self._idle_since.setdefault(key, now)

    def _hosts(self, node: SimNode, pool: PoolPolicy) -> list[SimChild]:
        """The children that any task of this pool can run in, not those that run suspects."""
        known = node.state.children
        return [
            child
            for child in node.children.values()
            if child.pool is pool
            and child.alive
            and not child.leaving
            and not (child.id in known and known[child.id].alone)
        ]

    def _judge_reserved(self, world: World, node: SimNode, pool: PoolPolicy, since: float, more_s: float) -> None:
        for child in node.children.values():
            if child.pool is not pool or not child.alive or not child.queue or child.quiet_until >= since:
                continue
            queued_at = child.queue[0][1]
            if world.now - max(queued_at, since) > RESERVED_WAIT_S + 2 * more_s:
                text = f"a job waits in child {child.id} of node {node.id} since {queued_at:.3f} s"
                self._complain(world, f"{text} while a slot is idle since {since:.3f} s")

    def _note_unplaced(self, world: World, node: SimNode) -> None:
        before = self._unplaced_since
        unplaced = node.unplaced() - self._confirming[node.id]
        self._unplaced_since = {key: at for key, at in before.items() if key[0] != node.id}
        for receipt in unplaced:
            self._unplaced_since[node.id, receipt] = before.get((node.id, receipt), world.now)

    def _judge_unplaced(self, world: World, node: SimNode, pool: PoolPolicy, since: float, more_s: float) -> None:
        for (number, receipt), at in self._unplaced_since.items():
            row = world.store.rows[int(receipt.key)]
            if number != node.id or world.plan.pool_of(world.tasks[row.message.id]) is not pool:
                continue
            patient = receipt in self._crashed or suspected(world, row) or world.tasks[row.message.id].linked
            patience_s = CONCLUDE_WAIT_S if patient else RESERVED_WAIT_S
            if world.now - max(at, since, self._down_at) > patience_s + 2 * more_s:
                self._complain(world, f"node {node.id} sits on {receipt} since {at:.3f} s while a slot is idle")

    def _judge_stop(self, world: World, node: SimNode) -> None:
        ends_by = self._ends_by.get(node.id, inf)
        if world.now > ends_by:
            self._ends_by[node.id] = inf
            world.violation(f"node {node.id} should have ended by {ends_by:.2f} s")

    def _judge_children(self, world: World, node: SimNode, pool: PoolPolicy) -> None:
        key, target = (node.id, pool.name), node.targets[pool.name]
        ours = [child for child in node.children.values() if child.pool is pool]
        dormant = pool.on_demand and not ours
        alive = sum(1 for child in self._hosts(node, pool) if not pool.kills or child.active() or not child.running)
        if node.hung or node.stopping or dormant or alive >= target:
            self._short_since.pop(key, None)
            return
        since = self._short_since.setdefault(key, world.now)
        if world.now - since > _REPLACED_WITHIN_S:
            self._short_since[key] = inf
            text = f"node {node.id} has {alive} children at work instead of {target}"
            world.violation(f"{text} in its pool {pool.name} since {since:.2f} s")

    def _judge_surplus(self, world: World, node: SimNode, pool: PoolPolicy) -> None:
        """Children without a purpose do not stay."""
        key, target = (node.id, pool.name), node.targets[pool.name]
        ours = [child for child in node.children.values() if child.pool is pool and child.alive and child.up]
        idle = [child.idle_since for child in ours if not child.running and not child.queue]
        if len(idle) <= target or node.hung or node.stopping or any(len(c.running) > c.active() for c in ours):
            self._surplus_since.pop(key, None)
            return
        since = max(self._surplus_since.setdefault(key, world.now), sorted(idle)[target])
        if world.now - since > _SURPLUS_GOES_S:
            self._surplus_since[key] = inf
            world.violation(f"node {node.id} keeps {len(idle)} idle children, not {target}, in its pool {pool.name}")

    def end(self, world: World) -> None:
        """Nothing is left to judge."""


def _slots(child: SimChild) -> int:
    return child.slots + len(child.running) - child.active()


def suspected(world: World, row: Row) -> bool:
    """True if this task must run alone: that takes its time."""
    kills = world.plan.pool_of(world.tasks[row.message.id]).kills
    return not kills and row.crashes >= max(1, world.plan.policy.crash_limit - 1)


def budget_s(world: World) -> float:
    """How long a message may be hidden behind those of other pools, of which few are set aside at a time."""
    if len(world.plan.policy.pools) == 1:
        return 0.0
    others = sum(1 for row in world.store.rows.values() if row.state in {"ready", "claimed"})
    return _BUDGET_S + 2.0 * others / world.plan.policy.aside_max
