"""Addresses of SQLite stores, and the places they may lie in."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.stores import sqlite_files
from celeriac.stores.faults import StoreMisconfigured
from celeriac.stores.sqlite_files import check_place, file_system_of, path_of

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/share rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
41 22 0:36 / /mnt/my\\040disk rw - cifs //server/disk rw
42 40 254:9 / /mnt/share/local rw - xfs /dev/vdb rw
43 22 0:37 / /data rw - ext4 /dev/vdc rw
44 22 0:38 / /data rw master:3 propagate_from:2 - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", "ext4"),
        ("/mnt/share/x.db", "nfs4"),
        ("/mnt/shared/x.db", "ext4"),
        ("/mnt/share/local/deep/x.db", "xfs"),
        ("/mnt/my disk/x.db", "cifs"),
        ("/data/x.db", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_topmost_mount(path: str, kind: str) -> None:
    assert file_system_of(path, MOUNTS) == kind


def test_a_network_file_system_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_files, "_NETWORK", frozenset({file_system_of(str(tmp_path), _own_mounts())}))
    with pytest.raises(StoreMisconfigured, match=r"network file system \(\w+\)"):
        check_place(str(tmp_path / "x.db"))


def _own_mounts() -> str:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_a_local_place_is_fine(tmp_path: Path) -> None:
    assert file_system_of(str(tmp_path), _own_mounts()) not in {"", "nfs"}
    check_place(str(tmp_path / "x.db"))


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of("sqlite:///rel.db") == str(tmp_path.resolve() / "rel.db")
    assert path_of("sqlite:////var/lib/x.db") == "/var/lib/x.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite", "sqlite:///", "sqlite:///:memory:"])
def test_an_address_without_a_file_points_to_memory(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="memory://"):
        path_of(url)


def test_two_slashes_are_taken_for_the_mistake_they_are() -> None:
    with pytest.raises(StoreMisconfigured, match="three slashes"):
        path_of("sqlite://rel.db")
