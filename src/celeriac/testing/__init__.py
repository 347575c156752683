"""What we test with, shipped for others: conformance suites, the simulator, tools to plant faults.

`broker_suite`, `backend_suite`, `bus_suite` and `kv_suite` prove an adapter; `faults` and `clients` are what they are
made of. They need pytest, and their model tests Hypothesis: ``pip install 'celeriac[testing]'`` has both. Importing this
package itself loads neither.
"""
