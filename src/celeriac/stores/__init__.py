"""Stores: technologies that are broker and backend at once, so that both can share one transaction.

A store imports `model` and one driver. `brokers` and `backends` put the ports on it.
"""
