"""The JSON of a run: what was asked of what, on which machine, and every figure."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.benchmark.pictures import Pictures
from service.benchmark.run import Knee, Run, Step
from service.benchmark.target import INCLUDES, Server, Target


def describe_machine() -> dict[str, Any]:
    """Where k6 runs. `load_average` is of the minute before: what else the machine was doing."""
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe_requests(target: Target, pictures: Pictures) -> dict[str, Any]:
    """What was posted, and where."""
    return {
        "url": target.detect_url,
        "pictures": pictures.source,
        "count": len(pictures.files),
        "mean_bytes": round(pictures.mean_bytes),
        "cached": target.cached,
        "bytes_unique": not target.cached,
    }


def report(run: Run, *, server: Server, about: Mapping[str, Any]) -> dict[str, Any]:
    """All of a run. `about` is what is known before it: command, k6, machine, requests."""
    return {
        **about,
        "includes": INCLUDES,
        "server": server.to_dict(),
        "steps": [_step(step) for step in run.steps],
        "knee": _knee(run.knee) if run.knee else None,
        "cut": run.cut,
    }


def mask_key(command: Sequence[str]) -> list[str]:
    """A command line without the key that may be in it."""
    masked: list[str] = []
    for word in command:
        if masked and masked[-1] == "--key":
            word = "***"
        elif word.startswith("--key="):
            word = "--key=***"
        masked.append(word)
    return masked


def _step(step: Step) -> dict[str, Any]:
    load = step.load
    offered = {
        "name": load.name,
        "loop": "closed" if load.rate is None else "open",
        "clients": load.clients,
        "rate": load.rate,
        "warm_up_s": load.warm_up_s,
        "asked_s": load.seconds,
    }
    return offered | step.figures.to_dict() | {"broken_by": step.broken_by}


def _knee(knee: Knee) -> dict[str, Any]:
    found, above = knee.step, knee.above
    return {
        "p99_ms_allowed": knee.objective.p99_ms,
        "rate": found.load.rate if found else None,
        "latency_ms": dict(found.figures.latency_ms) if found else None,
        "next_rate": above.load.rate if above else None,
        "broken_by": above.broken_by if above else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
