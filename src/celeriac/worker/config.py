"""What a worker is told, and what it needs from the app: the front builds both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from celeriac.model.policy import EnginePolicy, PoolPolicy, TaskPolicy
from celeriac.model.ports import Backend, Broker
from celeriac.model.run import ResultPolicy, Runnable

RESTARTED = "CELERIAC_RESTARTED"
"""Environment variable of a worker process that has started itself anew: its options are for the second time those of
its start, so it is in its folder already, and purges nothing."""

UNREACHABLE = "the broker lives inside one process, and a worker has several: it would never see a task"
UNREACHABLE_HINT = (
    "Give an address that processes share, such as sqlite:///celeriac.db; or run the tasks inside with -P solo."
)


class WorkerConfig(Struct, frozen=True):
    """The settled options of one worker. Built from settings and command line; nothing is read later."""

    hostname: str
    """Node name, such as ``celery@machine``."""
    queues: tuple[str, ...]
    policy: EnginePolicy
    results: ResultPolicy
    adds_pools: bool = False
    """True if nobody chose the pools: `with_pools_of` adds those that tasks ask for."""
    added_threads: int = 1
    """Slots of a threads pool that is added."""
    added_async_slots: int = 1000
    start: Literal["fork", "exec", "auto"] = "auto"
    """How children are started; `auto` forks unless the app's import has started threads."""
    app_path: str = ""
    """What ``-A`` said; children started by exec import it again."""
    workdir: str = ""
    lease_s: float = 6.0
    grace_s: float | None = 25.0
    """How long a warm shutdown lets running tasks go on; None: as long as they take."""
    tasks_per_child_max: int | None = None
    memory_per_child_max_kib: int | None = None
    loglevel: str = "WARNING"
    logfile: str | None = None
    log_format: str = ""
    task_log_format: str = ""
    redirect_stdouts: bool = True
    redirect_stdouts_level: str = "WARNING"
    log_color: bool | None = None
    log_json: bool = False
    hijack_root_logger: bool = True
    quiet: bool = False
    banner: str = ""
    """Printed by the main process once the node is ready to take; composed by the command line."""

    @property
    def is_solo(self) -> bool:
        """True if everything runs in one process."""
        return self.policy.pools[0].name == "solo"


def with_pools_of(config: WorkerConfig, policies: Iterable[TaskPolicy]) -> WorkerConfig:
    """The options with the pools that these tasks ask for, if nobody chose the pools. Idempotent.

    Nothing is started for them before the first such task comes.
    """
    if not config.adds_pools:
        return config
    wanted = {task.pool for task in policies}
    there = {pool.name for pool in config.policy.pools}
    pools = list(config.policy.pools)
    for name, slots in (("asyncio", config.added_async_slots), ("threads", config.added_threads)):
        if name in wanted and name not in there:
            pools.append(PoolPolicy(name, slots=slots, kills=False, on_demand=True))
    return replace(config, policy=replace(config.policy, pools=tuple(pools)))


class SettingsTable(Protocol):
    """Settings, as far as others may see them."""

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """As a plain dict, without secrets."""
        ...


class Home(Protocol):
    """The app, as its worker sees it."""

    @property
    def conf(self) -> SettingsTable:
        """Its settings."""
        ...

    def bugreport(self) -> str:
        """Versions and settings as text, for those who ask from afar."""
        ...

    def load_tasks(self) -> Mapping[str, Runnable]:
        """Import every module the app names (`imports`, `include`, autodiscovery) and return the registry.
        Whatever the import raises passes through."""
        ...

    def make_broker(self) -> Broker:
        """A new, closed broker object as configured."""
        ...

    def make_backend(self) -> Backend | None:
        """A new, closed backend object as configured; None when results are disabled."""
        ...
