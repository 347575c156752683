"""The shipped proof: many tasks on several workers whose processes are killed at random, and what came of it.

`run` sends tasks to a queue of its own, kills a process of a random worker with SIGKILL again and again until all is
done, starts anew what died, and judges (`chaos_judge`) what a client reads, what the store recorded and what the
tasks noted.

- *Lost*: a task that was accepted and of which a client reads no final state when nothing goes on any more; and one
  that was given up without having been killed three times.
- *Completed twice*: a task of which more than one final record was committed. The store keeps only one, so triggers
  in the database count them as they are written, in the transactions that write them.
- *Recovery*: from the kill of a process until every task that it held or was running is at work or done again, as
  `chaos_judge.recoveries` has it.
"""

from __future__ import annotations

import json
import random
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from celeriac.app import Celeriac
from celeriac.model.errors import CeleriacError
from celeriac.model.states import READY_STATES
from celeriac.stores.sqlite_book import SqliteBook
from celeriac.stores.sqlite_files import path_of
from celeriac.testing.chaos_cast import COMMAND, Cast, ChaosError, Scene
from celeriac.testing.chaos_judge import Claim, Completion, Evidence, Final, Report, judge
from celeriac.testing.chaos_tasks import TASKS_OF_POOL, make_app, read_notes
from celeriac.wire.records import decode_record

_BATCH = 500
"""Tasks per `app.batch()`: what a busy client sends at a time."""
_READ = 500
_LOOK_S = 0.05
_COUNT_EACH_S = 0.25
_STILL_S = 2.0
"""When nothing was completed for so long it is looked whether anything is left to do."""
_LAST_WORDS_S = 0.5
"""So long workers go on after all is done: what comes late must be seen."""
_JITTER = (0.5, 1.5)


class Plan(Struct, frozen=True):
    """What to do.

    `url` is the database to use, with a queue of its own in it; empty for a new one in a temporary folder.
    `patience_s`: when nothing was completed for so long, what is not done is lost.
    """

    tasks: int = 50_000
    workers: int = 8
    concurrency: int = 2
    pool: str = "prefork"
    kill_each_s: float = 1.0
    task_s: float = 0.01
    """Runs last this long on average, from nothing to twice that."""
    recovery_max_s: float = 10.0
    patience_s: float = 60.0
    seed: int = 0
    url: str = ""
    command: tuple[str, ...] = COMMAND
    """What stands before ``-A ... worker``."""
    keep: bool = False
    """Keep the folder with logs, notes and database; after a failure it is kept anyway."""


class Progress(Struct, frozen=True):
    """How far it is."""

    sent: int
    done: int
    tasks: int
    kills: int
    elapsed_s: float


class Outcome(Struct, frozen=True):
    """The report, and where the evidence is, if it was kept."""

    report: Report
    folder: str = ""


def run(plan: Plan, watch: Callable[[Progress], object] = lambda _progress: None) -> Outcome:
    """Carry out the proof in the calling thread; processes and files are gone when it returns or raises.

    :param watch: is called several times a second
    :raises ChaosError: if it cannot be carried out
    """
    folder = tempfile.mkdtemp(prefix="celeriac-chaos-")
    keep = False
    try:
        report = _Proof(plan, folder, watch).run()
        keep = plan.keep or not report.passed
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return Outcome(report, folder if keep else "")


class _Proof:
    def __init__(self, plan: Plan, folder: str, watch: Callable[[Progress], object]) -> None:
        self._plan = plan
        self._folder = folder
        self._watch = watch
        self._chance = random.Random(plan.seed)
        # Not from the seed: two proofs may use one database.
        mark = f"chaos-{secrets.token_hex(4)}"
        self._mark = f"{mark}-"
        self._ids = [f"{self._mark}{number:08d}" for number in range(plan.tasks)]
        url = plan.url or f"sqlite:///{folder}/chaos.db"
        if not url.startswith("sqlite:"):
            raise ChaosError(
                "chaos can tell a completion that was recorded twice on SQLite only: give a sqlite:/// address"
            )
        path = str(Path(path_of(url)).absolute())
        self._scene = Scene(
            # Absolute: workers have another working directory.
            url=f"sqlite:///{path}",
            queue=mark,
            folder=folder,
            options=_worker_options(plan),
            command=plan.command,
        )
        self._book = SqliteBook(path, self._mark, len(self._ids[0]) if self._ids else 0)
        self._began_at = time.monotonic()
        # Moments in the database are of the wall clock.
        self._wall_s = time.time() - self._began_at

    def run(self) -> Report:
        """From an empty queue to the verdict."""
        scene = self._scene
        with ExitStack() as stack:
            app = make_app(scene.url, scene.queue, scene.folder)
            stack.callback(app.close)
            # Makes the database; the book needs its tables.
            broker = app.make_broker()
            broker.open()
            broker.close()
            self._book.open()
            stack.callback(self._close_book)
            cast = Cast(scene, self._plan.workers)
            stack.callback(cast.kill_all)
            cast.await_ready()
            self._began_at = time.monotonic()
            sender = _Sender(app, self._ids, self._plan, self._chance.random())
            stack.callback(sender.stop)
            self._play(cast, sender)
            duration_s = time.monotonic() - self._began_at
            problems: list[str] = []
            if down := cast.await_up():
                problems.append(f"{down} workers did not come back")
            _let_pass(_LAST_WORDS_S)
            if left_behind := cast.stop():
                problems.append(f"{left_behind} processes of workers were left behind")
            if cast.unasked:
                problems.append(f"{cast.unasked} workers ended that nobody had killed")
            return judge(self._evidence(app, cast, duration_s, problems), self._plan.recovery_max_s)

    def _close_book(self) -> None:
        # The database may be what broke; then that was told.
        with suppress(CeleriacError):
            if self._plan.url:
                self._book.erase(self._scene.queue)
            self._book.close()

    def _play(self, cast: Cast, sender: _Sender) -> None:
        """Kill until all is done, or nothing goes on any more. Raises ChaosError, and what the sender raised."""
        plan = self._plan
        kill_at = time.monotonic() + self._next_kill_s()
        moved_at = counted_at = 0.0
        done = -1
        while True:
            now = time.monotonic()
            if now >= kill_at:
                cast.kill_one(self._chance)
                kill_at = now + self._next_kill_s()
            cast.look_after()
            if now - counted_at >= _COUNT_EACH_S:
                counted_at = now
                before, done = done, self._book.completed()
                if done != before or moved_at == 0.0:
                    moved_at = now
                self._watch(Progress(sender.sent, done, plan.tasks, len(cast.kills), now - self._began_at))
                still_s = now - moved_at
                if sender.finished() and (done >= plan.tasks or still_s > _STILL_S) and self._book.waiting() == 0:
                    return
                if still_s > plan.patience_s:
                    return
            _let_pass(_LOOK_S)

    def _next_kill_s(self) -> float:
        return self._plan.kill_each_s * self._chance.uniform(*_JITTER)

    def _evidence(self, app: Celeriac, cast: Cast, duration_s: float, problems: list[str]) -> Evidence:
        if damage := self._book.damage():
            problems.append(f"the database is damaged: {damage}")
        return Evidence(
            ids=self._ids,
            finals=_finals(app, self._ids),
            runs=list(read_notes(self._folder)),
            kills=cast.kills,
            claims=self._claims(),
            completions=[
                Completion(entry.id, entry.state, entry.at - self._wall_s)
                for entry in self._book.records()
                if entry.state in READY_STATES
            ],
            duration_s=duration_s,
            waiting=self._book.waiting(),
            problems=tuple(problems),
        )

    def _claims(self) -> list[Claim]:
        held: dict[str, Claim] = {}
        found: list[Claim] = []
        for entry in self._book.claims():
            at = entry.at - self._wall_s
            before = held.pop(entry.id, None)
            if before is not None:
                found.append(Claim(before.id, before.node, before.from_at, at))
            if entry.node is not None:
                held[entry.id] = Claim(entry.id, entry.node, at)
        return found + list(held.values())


def _worker_options(plan: Plan) -> tuple[str, ...]:
    """As many tasks at once in each pool."""
    pools = "prefork,asyncio" if plan.pool == "mixed" else plan.pool
    slots = ("--async-slots", str(plan.concurrency)) if "asyncio" in pools else ()
    return ("-P", pools, "-c", str(plan.concurrency), *slots)


def _let_pass(seconds: float) -> None:
    threading.Event().wait(seconds)


def _finals(app: Celeriac, ids: Sequence[str]) -> dict[str, Final]:
    """What a client reads of those that are done."""
    backend = app.make_backend()
    assert backend is not None, "chaos keeps results"
    finals: dict[str, Final] = {}
    backend.open()
    try:
        for start in range(0, len(ids), _READ):
            for record in backend.read(ids[start : start + _READ]):
                if record is not None and record.state in READY_STATES:
                    result = decode_record(record).result
                    finals[record.id] = Final(record.state, result if isinstance(result, str) else "")
    finally:
        backend.close()
    return finals


class _Sender(threading.Thread):
    """Sends all tasks while workers work and die."""

    def __init__(self, app: Celeriac, ids: Sequence[str], plan: Plan, seed: float) -> None:
        super().__init__(name="chaos-sender", daemon=True)
        self._app = app
        self._ids = ids
        self._task_s = plan.task_s
        self._names = TASKS_OF_POOL[plan.pool]
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self.sent = 0
        self.start()

    def run(self) -> None:
        """Until all are sent, or told to stop."""
        try:
            tasks = [self._app.tasks[name] for name in self._names]
            for start in range(0, len(self._ids), _BATCH):
                with self._app.batch():
                    for number, task_id in enumerate(self._ids[start : start + _BATCH]):
                        seconds = round(self._chance.uniform(0.0, 2 * self._task_s), 6)
                        tasks[number % len(tasks)].apply_async((seconds,), task_id=task_id)
                self.sent = min(start + _BATCH, len(self._ids))
                if self._stopping.is_set():
                    return
        except BaseException as exc:
            self._error = exc

    def finished(self) -> bool:
        """Whether all are sent. Raises ChaosError if that failed."""
        if self._error is not None:
            raise ChaosError(f"sending failed: {self._error}") from self._error
        return self.sent == len(self._ids)

    def stop(self) -> None:
        """End before the next batch. Idempotent."""
        self._stopping.set()
        self.join(30.0)


def as_json(outcome: Outcome, plan: Plan) -> str:
    """Report and seed as one JSON object."""
    report = outcome.report
    return json.dumps(
        {
            "passed": report.passed,
            **{name: getattr(report, name) for name in report.__struct_fields__},
            "seed": plan.seed,
            "folder": outcome.folder,
        },
        indent=2,
    )
