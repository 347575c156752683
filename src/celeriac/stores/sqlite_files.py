"""Where a SQLite store lies, and whether it may lie there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from celeriac.model.urls import mask_url, parse_url
from celeriac.stores.faults import StoreMisconfigured

# Locks and shared memory are not coherent between machines there, and SQLite's log needs both.
_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "smb3",
        "smbfs",
        "vboxsf",
    }
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def path_of(url: str) -> str:
    """The absolute path a ``sqlite:///`` address means. Raises StoreMisconfigured for other forms."""
    parsed = parse_url(url)
    if parsed.host:
        raise StoreMisconfigured(
            f"{mask_url(url)!r} names a host; a relative path takes three slashes (sqlite:///file.db), "
            "an absolute one four (sqlite:////var/lib/file.db)"
        )
    if not parsed.path or parsed.path == ":memory:":
        raise StoreMisconfigured(f"{mask_url(url)!r} names no file; for a store in memory use memory://")
    return os.path.realpath(parsed.path)


def check_place(path: str) -> None:
    """Raises StoreMisconfigured if the directory is missing, or lies on a network file system."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise StoreMisconfigured(f"the directory {str(folder)!r} of the database does not exist; create it")
    if Path(path).is_dir():
        raise StoreMisconfigured(f"{path!r} is a directory; the address must name a file in it")
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # no procfs: nothing to judge by
    kind = file_system_of(path, mounts)
    if kind in _NETWORK:
        raise StoreMisconfigured(
            f"{path!r} lies on a network file system ({kind}), where SQLite loses data; "
            "move the database to a local disk, or use a broker with a server"
        )


def file_system_of(path: str, mountinfo: str) -> str:
    """The type of file system `path` lies on, by the text of ``/proc/self/mountinfo``."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match.group(1), 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # The last of equal mount points lies on top.
        if inside and len(point) >= best:
            best, kind = len(point), right.split()[0]
    return kind
