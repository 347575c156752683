"""Shells: the only room with threads, processes, signals and sleep. Decisions are `core`'s."""
