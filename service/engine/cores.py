"""How many cores this process may run on."""

import os


def usable_cores() -> int:
    """At least 1; as far as the system tells."""
    # macOS and Windows have no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
