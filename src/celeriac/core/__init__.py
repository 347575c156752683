"""Decisions: pure functions of values. No I/O, no threads, no clock, no chance but what is passed in."""
