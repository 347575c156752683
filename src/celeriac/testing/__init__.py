"""What we test with, shipped for others: conformance suites, the simulator, tools to plant faults.

`broker_suite`, `backend_suite` and `bus_suite` prove an adapter; `faults` and `clients` are what they are made of.
They need pytest and Hypothesis; importing this package itself loads neither.
"""
