"""From what was seen while processes were killed to a verdict. Pure.

It believes no single witness. Whether a task is done is what a client reads; how often its completion was recorded is
what the store's own triggers saw; what ran, and when, is what the tasks noted themselves; and where these contradict
each other, the proof has failed, too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from celeriac.model.states import READY_STATES, SUCCESS
from celeriac.testing.chaos_tasks import Run

KillKind = Literal["main", "node", "child"]
CRASHES_MAX = 3
"""A task that was killed so often is a dead letter, by default; one that is so earlier is as good as lost."""
_SHOWN = 5
_NEVER = math.inf


class Kill(Struct, frozen=True):
    """A process was killed."""

    at: float
    kind: KillKind
    pid: int
    main: int
    """The main process of its worker."""


class Claim(Struct, frozen=True):
    """A node held a task: from then, and until then (or still)."""

    id: str
    node: int
    from_at: float
    until_at: float = _NEVER


class Completion(Struct, frozen=True):
    """A final record was committed."""

    id: str
    state: str
    at: float


class Final(Struct, frozen=True):
    """What a client reads of a task that is done: its state, and the name of the run that it owes it to."""

    state: str
    run: str = ""


class Evidence(Struct, frozen=True):
    """All that was seen. Moments are those of one clock."""

    ids: Sequence[str]
    finals: Mapping[str, Final]
    runs: Sequence[Run]
    kills: Sequence[Kill]
    claims: Sequence[Claim]
    completions: Sequence[Completion]
    duration_s: float
    waiting: int = 0
    """Messages that are still there, though nothing goes on any more."""
    problems: tuple[str, ...] = ()
    """What went wrong beside the tasks: processes left behind, a damaged file."""


class Recovery(Struct, frozen=True):
    """How long it took after a kill until all that the process had was at work again or done; how many these were."""

    kill: Kill
    tasks: int
    took_s: float


class Report(Struct, frozen=True):
    """The outcome of a proof."""

    sent: int
    succeeded: int
    lost: int
    doubled: int
    given_up: int
    """Killed three times, hence dead letters: final, and rightly so."""
    repeated: int
    """Tasks that were begun more than once: what a kill interrupts begins again."""
    runs_more: int
    kills: dict[str, int]
    kills_felt: int
    """Kills of a process that had work."""
    recovery_p50_s: float | None
    recovery_p99_s: float | None
    recovery_worst_s: float | None
    duration_s: float
    problems: tuple[str, ...]
    """Why it failed; empty if it has passed."""

    @property
    def passed(self) -> bool:
        """Whether the guarantees held, and something was proven at all."""
        return not self.problems


def judge(evidence: Evidence, recovery_max_s: float) -> Report:
    """The verdict. Nothing is proven where no process was killed that had work."""
    begun = _count(run.id for run in evidence.runs)
    completed = _count(one.id for one in evidence.completions)
    lost = [each for each in evidence.ids if _is_lost(evidence.finals.get(each), begun.get(each, 0))]
    doubled = [each for each in evidence.ids if completed.get(each, 0) > 1]
    succeeded = sum(final.state == SUCCESS for final in evidence.finals.values())
    took = recoveries(evidence)
    times = sorted(one.took_s for one in took)
    p99 = _percentile(times, 0.99)
    problems = [
        *_named("lost", lost),
        *_named("completed twice", doubled),
        *_contradictions(evidence, completed),
        *evidence.problems,
    ]
    if evidence.waiting:
        problems.append(f"{evidence.waiting} messages are left in the queue")
    if not took:
        problems.append("nothing is proven: no process that had work was killed; send more tasks, or kill more often")
    if p99 is not None and p99 >= recovery_max_s:
        problems.append(f"recovery p99 is {p99:.2f} s, not below {recovery_max_s:g} s")
    return Report(
        sent=len(evidence.ids),
        succeeded=succeeded,
        lost=len(lost),
        doubled=len(doubled),
        given_up=len(evidence.finals) - succeeded - sum(each in evidence.finals for each in lost),
        repeated=sum(count > 1 for count in begun.values()),
        runs_more=sum(begun.values()) - len(begun),
        kills=_count(kill.kind for kill in evidence.kills),
        kills_felt=len(took),
        recovery_p50_s=_percentile(times, 0.5),
        recovery_p99_s=p99,
        recovery_worst_s=times[-1] if times else None,
        duration_s=evidence.duration_s,
        problems=tuple(problems),
    )


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _named(what: str, ids: Sequence[str]) -> list[str]:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return [f"{what}: {', '.join(ids[:_SHOWN])}{more}"] if ids else []


def _is_lost(final: Final | None, begun: int) -> bool:
    """No result; or given up, though it was not killed so often as to deserve it."""
    return final is None or final.state not in READY_STATES or (final.state != SUCCESS and begun < CRASHES_MAX)


def _contradictions(evidence: Evidence, completed: Mapping[str, int]) -> list[str]:
    """Where witnesses do not agree: then the measurement itself, or the store, is wrong."""
    ended: dict[str, set[str]] = defaultdict(set)
    for run in evidence.runs:
        if run.ended_at is not None:
            ended[run.id].add(run.name)
    unfounded = [
        task_id
        for task_id, final in evidence.finals.items()
        if final.state == SUCCESS and final.run not in ended.get(task_id, ())
    ]
    unseen = [task_id for task_id in evidence.finals if task_id not in completed]
    return [
        *_named("a result that no run has returned", unfounded),
        *_named("a result whose record the book has not seen", unseen),
    ]


def _percentile(ordered: Sequence[float], part: float) -> float | None:
    """Nearest rank: a value that occurred, and with few of them the worst."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


def recoveries(evidence: Evidence) -> list[Recovery]:
    """For each kill of a process that had work: the longest gap, of all tasks of that process that were not done,
    between the kill and the next moment at which a run of the task began or its final record was committed.

    What a process had: the killed child, the tasks that it had begun; the node or the main process, all that the
    worker had begun or claimed. A task that was claimed and, as far as anybody noted, not begun may have lain in the
    killed child; so a child's kill counts those of its whole worker. And the claims of a node which never began
    anything, and so cannot be told to be this worker's or that one's, count for each kill. Both can only make a gap
    longer.
    """
    moments = _Moments(evidence)
    owners = _owners(evidence)
    found: list[Recovery] = []
    for kill in evidence.kills:
        had = moments.running(kill) | {
            claim.id
            for claim in evidence.claims
            if claim.from_at <= kill.at < claim.until_at and owners.get(claim.node, kill.main) == kill.main
        }
        had -= moments.running_elsewhere(kill)
        gaps = [gap for task_id in had if (gap := moments.gap_s(task_id, kill.at)) is not None]
        if gaps:
            found.append(Recovery(kill, len(gaps), max(gaps)))
    return found


def _owners(evidence: Evidence) -> dict[int, int]:
    """Node -> main process of its worker, by the runs that began while the node held their task."""
    claims: dict[str, list[Claim]] = defaultdict(list)
    for claim in evidence.claims:
        claims[claim.id].append(claim)
    owners: dict[int, int] = {}
    for run in evidence.runs:
        for claim in claims.get(run.id, ()):
            if claim.from_at <= run.begun_at < claim.until_at:
                owners.setdefault(claim.node, run.main)
    return owners


class _Moments:
    """When the runs of each task began, when it was done, and what ran where."""

    def __init__(self, evidence: Evidence) -> None:
        self._begun: dict[str, list[float]] = defaultdict(list)
        self._runs_of_main: dict[int, list[Run]] = defaultdict(list)
        for run in evidence.runs:
            self._begun[run.id].append(run.begun_at)
            self._runs_of_main[run.main].append(run)
        for moments in self._begun.values():
            moments.sort()
        self._done: dict[str, float] = {}
        for one in evidence.completions:
            self._done.setdefault(one.id, one.at)
        self._died = {kill.pid: kill.at for kill in reversed(evidence.kills)}

    def running(self, kill: Kill) -> set[str]:
        """Tasks that the killed process, or with a node or main process any child of the worker, was in."""
        return {run.id for run in self._open(kill) if kill.kind != "child" or run.pid == kill.pid}

    def running_elsewhere(self, kill: Kill) -> set[str]:
        """Tasks that another child of the same worker, which this kill leaves alone, was in."""
        if kill.kind != "child":
            return set()
        return {run.id for run in self._open(kill) if run.pid != kill.pid and self._died.get(run.pid, _NEVER) > kill.at}

    def _open(self, kill: Kill) -> list[Run]:
        return [
            run
            for run in self._runs_of_main.get(kill.main, ())
            if run.begun_at <= kill.at and (run.ended_at is None or run.ended_at > kill.at)
        ]

    def gap_s(self, task_id: str, at: float) -> float | None:
        """From `at` to the next beginning or the end of a task; None if it was done by then."""
        done_at = self._done.get(task_id, _NEVER)
        if done_at <= at:
            return None
        begun = self._begun.get(task_id, [])
        index = bisect_left(begun, at)
        again_at = begun[index] if index < len(begun) else _NEVER
        return min(done_at, again_at) - at
