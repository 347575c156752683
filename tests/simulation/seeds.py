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
    1000137: "a node that stops, or has no room at all, woke for ever for a budget that it did not look at any more",
    1000156: "four tasks that had to run alone waited for others that had to, too, and there were no more such children",
    1000594: "a child of one shared slot retired while a task waited in it, and none took its place",
    1004307: "a node whose pool was full put a message off for seconds, again and again, while another node was idle",
    1005209: "children for suspects that were no longer needed when they were up stayed for ever",
    3783: "a task cut off at the end of the grace period gets its bare final state",
}
