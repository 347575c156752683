"""The tasks of an app, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.model.errors import NotRegistered

if TYPE_CHECKING:
    from celeriac.task import Task


class TaskRegistry(dict[str, "Task[Any, Any]"]):
    """Name to task; a missing name raises NotRegistered."""

    NotRegistered = NotRegistered

    def __missing__(self, name: str) -> Task[Any, Any]:
        raise NotRegistered(name)

    def register(self, task: Task[Any, Any]) -> None:
        """Add a task under its name."""
        self[task.name] = task

    def unregister(self, name: str | Task[Any, Any]) -> None:
        """Remove a task, by name or itself. Raises NotRegistered."""
        key = name if isinstance(name, str) else name.name
        try:
            del self[key]
        except KeyError:
            raise NotRegistered(key) from None

    def regular(self) -> dict[str, Task[Any, Any]]:
        """All but periodic tasks."""
        return dict(self)

    def periodic(self) -> dict[str, Task[Any, Any]]:
        """Periodic task classes: there are none, schedules belong to the app."""
        return {}
