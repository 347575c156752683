"""Scenarios that prove the guarantees, and their full forms; the small forms are in ``tests/integration/worker``."""
