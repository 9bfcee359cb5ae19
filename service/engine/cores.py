"""How many cores this process may keep busy: those it may be scheduled on, or fewer where its container has a limit."""

import math
import os
from pathlib import Path

# As a container sees its own limits (cgroup v2): microseconds of CPU in each period, or `max`.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def core_quota(path: Path = CPU_MAX) -> int | None:
    """How many cores the limit of the container is worth, rounded up; None where there is none."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))


def usable_cores() -> int:
    """At least 1; as far as the system tells."""
    # macOS and Windows have no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, core_quota() or cores)
