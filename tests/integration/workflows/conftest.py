"""Real workers on the tasks of `flows`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from integration.worker.conftest import Worker, eventually, lines

__all__ = ["Worker", "eventually", "lines"]

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the tasks in it."""
    shutil.copy(HERE / "flows.py", tmp_path / "flows.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers and ends them all."""
    workers: list[Worker] = []

    def start_worker(*options: str) -> Worker:
        worker = Worker(folder, *(options or ("-c", "2")), app="flows")
        workers.append(worker)
        return worker.ready()

    yield start_worker
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill_all()


@pytest.fixture
def flows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks, as their client sees them."""
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("flows", None)
    import flows as module

    yield module
    module.app.close()
    sys.modules.pop("flows", None)
