"""Celeriac: a distributed task queue. (Public names are filled in by the front.)"""

__version__ = "0.1.0"
