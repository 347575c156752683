"""`Celeriac`: the application. It holds settings and tasks, sends, and reads results.

It needs no configuration: without any, messages and results are kept in ``celeriac.db`` in the working directory.
"""

# An app and its tasks know each other's types; at run time the imports go one way.
# pyright: reportImportCycles=false

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from celeriac.canvas.making import SignsByName
from celeriac.core.route import Router
from celeriac.current import (
    get_current_task,
    get_current_worker_task,
    join,
    offer_default,
    set_current,
    set_default,
    unset,
)
from celeriac.decorating import MakesTasks
from celeriac.loading import Discovery, make_router, zone_of
from celeriac.model.context import Context
from celeriac.model.errors import ImproperlyConfigured
from celeriac.model.message import Record
from celeriac.model.ports import Backend, Broker
from celeriac.model.run import Runnable
from celeriac.on_loops import NoticingBlock
from celeriac.registry import TaskRegistry
from celeriac.result import AsyncResult as Result
from celeriac.result import ResultBase
from celeriac.result import ResultSet as Results
from celeriac.results.groups import GroupsOf
from celeriac.sending import send_by_name
from celeriac.settings import Settings
from celeriac.settings_source import read_source, resolve
from celeriac.stores_of import make_backend, make_broker
from celeriac.storing import revoke_tasks, write_state
from celeriac.task import Task as BaseTask
from celeriac.wire.records import Meta, decode_record
from celeriac.worker.config import WorkerConfig
from celeriac.worker.sender import Sender
from celeriac.worker.watcher import Watcher
from celeriac.worker_options import worker_config

if TYPE_CHECKING:
    from celeriac.controlling import Control

_NO_MEANING = frozenset({"amqp", "events", "log", "control", "loader", "fixups", "tasks"})
"""Parts of Celery's app that are replaced by class there, and are no parts here."""


class Celeriac(MakesTasks, SignsByName):
    """One application.

    :param main: name that stands for ``__main__`` in the names of tasks
    :param broker: address where messages wait; default ``sqlite:///celeriac.db``
    :param backend: address where results are kept; default: the broker's, ``disabled`` keeps none
    :param include: modules the worker imports
    :param config_source: as for `config_from_object`
    :param task_cls: base class of all tasks, or its dotted name
    :param namespace: prefix of the names in the configuration, such as ``CELERY``
    :param strict_typing: False: arguments are not checked at the call
    :param settings: every other keyword is a setting
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: Any = None,
        include: Sequence[str] | None = None,
        config_source: Any = None,
        set_as_current: bool = True,
        task_cls: type[BaseTask[Any, Any]] | str | None = None,
        namespace: str | None = None,
        strict_typing: bool = True,
        changes: Mapping[str, Any] | None = None,
        autofinalize: bool = True,
        **settings: Any,
    ) -> None:
        for name in _NO_MEANING & settings.keys():
            if settings.pop(name) is not None:
                raise ImproperlyConfigured(f"Celeriac({name}=...) has no meaning here; leave it out")
        self.main = main
        self.strict_typing = strict_typing
        self.autofinalize = autofinalize
        self.finalized = False
        self.namespace = namespace
        self._config_source = config_source
        given = {"broker_url": broker, "result_backend": backend, "include": include}
        given = {name: value for name, value in given.items() if value is not None}
        self.conf = Settings({**(changes or {}), **settings, **given}, self._load_configuration)
        self._task_cls = task_cls
        self._tasks = TaskRegistry()
        self._discoveries: list[Discovery] = []
        self._router: tuple[int, Router] | None = None
        self._accepted: tuple[int, frozenset[str]] = (-1, frozenset())
        self.sender = Sender(self._make_open_broker)
        self.watcher = Watcher(self.make_backend)
        if set_as_current:
            self.set_current()
        join(self)

    # configuration

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Configure from a module, class, object, mapping, or the dotted name of one. What was configured before is
        forgotten. It is read at the first use of `conf`, with `force` at once."""
        self._config_source = obj
        self.namespace = namespace if namespace is not None else self.namespace
        self.conf.reload(lambda: self._load_configuration(silent=silent))
        if force:
            len(self.conf)

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> bool:
        """Configure from the module that an environment variable names. Raises ImproperlyConfigured if it is not set,
        unless `silent`."""
        name = os.environ.get(variable_name)
        if not name:
            if silent:
                return False
            raise ImproperlyConfigured(
                f"environment variable {variable_name} is not set; set it to the name of a configuration module"
            )
        self.config_from_object(name, silent=silent, force=force, namespace=namespace)
        return True

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Values for settings that nobody configures."""
        self.conf.add_defaults(defaults)

    def _load_configuration(self, silent: bool = False) -> Mapping[str, Any]:
        if self._config_source is None:
            return {}
        try:
            source = resolve(self._config_source)
        except ImportError:
            if silent:
                return {}
            raise
        return read_source(source, self.namespace)

    def version(self) -> int:
        """Grows whenever settings change, and in a forked process: what was settled before holds no longer."""
        return int(self.conf.version) + self.sender.generation

    @property
    def timezone(self) -> tzinfo | None:
        """The zone of times without one; None is the machine's own."""
        return zone_of(self.conf["timezone"], bool(self.conf["enable_utc"]))

    def now(self) -> datetime:
        """The time now, in the app's zone."""
        moment = datetime.now(timezone.utc)
        return moment.astimezone(self.timezone)

    def uses_utc_timezone(self) -> bool:
        """True if the app's zone is UTC."""
        return self.timezone is timezone.utc

    # tasks

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks by name. Raises RuntimeError before `finalize` if ``autofinalize=False``."""
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    def finalize(self, auto: bool = False) -> None:
        """The app is complete."""
        if auto and not self.autofinalize and not self.finalized:
            raise RuntimeError("this app has autofinalize=False: call app.finalize() before its tasks are used")
        self.finalized = True

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """When tasks are loaded, import ``<package>.<related_name>`` of each package that has it; with `force` now."""
        discovery = Discovery(packages, related_name)
        if force:
            discovery.load()
        else:
            self._discoveries.append(discovery)

    # calling

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result[Any]:
        """Send a task by name, without its code; options as for `Task.apply_async`. Arguments are not checked."""
        return send_by_name(self, name, args, kwargs, options)

    async def asend_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result[Any]:
        """`send_task` for coroutines: the loop goes on meanwhile."""
        return await self.sender.sending(lambda: send_by_name(self, name, args, kwargs, options))

    def batch(self) -> NoticingBlock:
        """``with app.batch():`` sends at its end all that was sent inside, as one; nothing if the block raises. On an
        event loop, ``async with app.batch():`` does not hold it up."""
        return NoticingBlock(self.sender)

    def router(self) -> Router:
        """Where calls go by the present settings."""
        version = self.conf.version
        cached = self._router
        if cached is None or cached[0] != version:
            cached = self._router = (version, make_router(self.conf))
        return cached[1]

    # results

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Result[Any]:  # noqa: N802 - Celery's public name
        """The handle of a result."""
        return Result(task_id, app=self, **kwargs)

    def ResultSet(self, results: Iterable[ResultBase], **kwargs: Any) -> Results[Any]:  # noqa: N802 - Celery's public name
        """The handle of several results."""
        return Results(results, app=self, **kwargs)

    @property
    def GroupResult(self) -> GroupsOf:  # noqa: N802 - Celery's public name
        """Makes handles of groups, and restores those that were saved."""
        return GroupsOf(self)

    @property
    def backend(self) -> Backend:
        """This process's result backend, opened."""
        return self.watcher.backend()

    def decode_result(self, record: Record) -> Meta:
        """The meaning of a record, within `result_accept_content`."""
        version, accept = self._accepted
        if version != self.conf.version:
            conf = self.conf
            listed = conf["result_accept_content"]
            accept = frozenset(conf["accept_content"] if listed is None else listed)
            self._accepted = (conf.version, accept)
        return decode_record(record, accept)

    def store_state(self, task_id: str, state: str, meta: Any, request: Context | None = None) -> None:
        """Write a state of the user's. Raises BackendUnavailable, EncodeError."""
        write_state(self, task_id, state, meta, request)

    def revoke(self, task_id: str | Sequence[str], terminate: bool = False, signal: str | None = None) -> None:
        """Tasks must not run: those that wait become REVOKED. With `terminate` running ones are ended."""
        revoke_tasks(self, task_id, terminate, signal)

    @property
    def control(self) -> Control:
        """Remote control of the workers."""
        from celeriac.controlling import Control  # few programs ask for it

        return Control(self)

    def bugreport(self) -> str:
        """Versions and settings as text."""
        from celeriac.reporting import bugreport  # asks for modules that are slow to load

        return bugreport(self)

    # what a worker asks for

    def load_tasks(self) -> Mapping[str, Runnable]:
        """Import `imports`, `include` and what autodiscovery finds; return all tasks."""
        for module in (*self.conf["imports"], *self.conf["include"]):
            importlib.import_module(module)
        for discovery in self._discoveries:
            discovery.load()
        return self.tasks

    def make_broker(self) -> Broker:
        """A new, closed broker as configured."""
        return make_broker(self.conf)

    def _make_open_broker(self) -> Broker:
        return make_broker(self.conf, for_writing=True)

    def make_backend(self) -> Backend | None:
        """A new, closed backend as configured; None when results are disabled."""
        return make_backend(self.conf)

    def worker_config(self, **options: Any) -> WorkerConfig:
        """The options of one worker: those given (names as in `worker_options.worker_config`), else the settings."""
        return worker_config(self.conf, self.router(), **options)

    # being current

    def set_current(self) -> None:
        """This app is the one meant where none is named."""
        set_current(self)

    def set_default(self) -> None:
        """This app is meant wherever no other is current."""
        set_default(self)

    @property
    def current_task(self) -> BaseTask[Any, Any] | None:
        """The innermost running task, also one called as a plain function."""
        return get_current_task()

    @property
    def current_worker_task(self) -> BaseTask[Any, Any] | None:
        """The task that the worker began."""
        return get_current_worker_task()

    def close(self) -> None:
        """Release broker and backend of this process; a later use opens them anew."""
        self.sender.close()
        self.watcher.close()
        unset(self)

    def __enter__(self) -> Celeriac:  # noqa: PYI034 - typing has Self from 3.11 only
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Celeriac {self.main or '__main__'}>"


def _default_app() -> Celeriac:
    """The app of a program that made none: configured by the module ``CELERY_CONFIG_MODULE`` names, if any."""
    return Celeriac("default", config_source=os.environ.get("CELERY_CONFIG_MODULE"), set_as_current=False)


offer_default(_default_app)

Celery = Celeriac
"""The same class, under the name that Celery's users know."""
