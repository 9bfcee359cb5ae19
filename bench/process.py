"""What a process has used so far, as Linux says it in /proc: CPU time and resident memory.

Read from outside, so that a process does nothing for being measured; `self` is the one that asks.
"""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int | str) -> float:
    """User and system time of all its threads; in steps of a tick, usually 10 ms."""
    # The name of the process, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int | str) -> int:
    """Memory that it holds now, shared libraries included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
