"""Seeds that once failed, and what they showed. They run first, for ever."""

from __future__ import annotations

FAILED = {
    29: "a child of many slots that retires while one long task runs in it left the node short of a child",
    49: "a child whose last job and death came in one step counted as dying at its start, and respawns slowed down",
    410: "what a retiring child gave back unasked was taken for the answer to a recall, and a job for begun",
    992: "a failure path whose child died too must still end the task",
    1245: "a terminated task in a shared process is REVOKED, not failed",
    3437: "a node that exits while an acknowledgement is stuck leaves its claim to the lease",
    11141: "events before a stop, in one batch with it, may still start children",
    13437: "a node resized to no children kept a failure path for five seconds, though nobody was left to run it",
    13830: "a failure path waits behind a long task in a node of one slot",
    40792: "jobs on their way to a child of many slots that had just decided to end stayed in it",
    3783: "a task cut off at the end of the grace period gets its bare final state",
}
