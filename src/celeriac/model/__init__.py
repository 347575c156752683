"""Vocabulary: frozen values, ports, facts, clocks, ids and urls. Imports nothing else of ours."""
