"""Reading what the kernel knows of a worker's processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def parent_of(pid: int) -> int:
    """Parent process id, 0 when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    parents = {int(name): parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def cpu_s(pid: int) -> float:
    """CPU time of all threads, to the nanosecond where the kernel keeps it so."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    if total:
        return total / 1e9
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _rollup_kb(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def pss_mb(pid: int) -> float:
    """Proportional share of memory."""
    return _rollup_kb(pid, "Pss") / 1024


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return _rollup_kb(pid, "Rss") / 1024
