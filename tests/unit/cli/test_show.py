"""Tables for people."""

from __future__ import annotations

import io

from rich.console import Console

from celeriac.cli.show import Page, show_depths
from celeriac.model.message import Depth


def test_a_queue_with_a_very_long_name_takes_one_line():
    out = io.StringIO()
    names = ("mail", "x" * 60, "y" * 10_000)
    show_depths(Page(Console(file=out, width=160), 0.0), [Depth(name, 1, 0, 0, 0, 0) for name in names])
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(names)
    assert "x" * 60 in lines[2]
    assert "yyy..." in lines[3]
