"""Benchmarks: run with `make bench`, or `python bench/run.py --help`."""
