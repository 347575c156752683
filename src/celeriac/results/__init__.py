"""Handles of results, by concept; users import them from `celeriac.result`."""
