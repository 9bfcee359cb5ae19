"""What one step of a benchmark offers the service, and how k6 says it."""

import math
from dataclasses import dataclass
from typing import Any

# Between the warm-up and what is measured: its last answers have come by then, and its connections are free again.
PAUSE_S = 1.0
# Of requests in flight at once with a rate: two seconds' worth, within what a machine has room for.
LEAST_IN_FLIGHT, MOST_IN_FLIGHT = 16, 512


@dataclass(frozen=True, slots=True)
class Load:
    """One step.

    clients: without a rate, so many clients post their next picture as soon as the last is answered (closed loop).
    rate: requests a second, evenly spaced, that come whether or not those before were answered (open loop); then
        `clients` is how many may be in flight, and a request that finds no room is dropped, and counted.
    seconds: how long is measured, 1 at least. warm_up_s: how long the same was offered before, which is not counted;
        0 or at least 1.
    timeout_s: how long one request may take.
    """

    clients: int
    rate: float | None = None
    seconds: float = 10.0
    warm_up_s: float = 3.0
    timeout_s: float = 30.0

    @property
    def name(self) -> str:
        """For people."""
        if self.rate is not None:
            return f"{self.rate:g}/s"
        return f"{self.clients} client{'s' if self.clients > 1 else ''}"

    @property
    def lasts_s(self) -> float:
        """From the start to the last request, warm-up and pause with it."""
        return self.seconds + (self.warm_up_s + PAUSE_S if self.warm_up_s else 0.0)

    def scenarios(self) -> dict[str, dict[str, Any]]:
        """The same for k6; `measured` is a function of load.js, and so is `warm`."""
        begins_s = self.lasts_s - self.seconds
        measured = self._executor(self.seconds) | {
            "exec": "measured",
            "startTime": _duration(begins_s),
            # Requests in flight at the end are waited for, and counted: longer than load.js lets any of them take.
            "gracefulStop": _duration(self.timeout_s + 3),
        }
        if not self.warm_up_s:
            return {"measured": measured}
        warm = self._executor(self.warm_up_s) | {"exec": "warm", "gracefulStop": _duration(PAUSE_S)}
        return {"warm": warm, "measured": measured}

    def _executor(self, seconds: float) -> dict[str, Any]:
        if self.rate is None:
            return {"executor": "constant-vus", "vus": self.clients, "duration": _duration(seconds)}
        return {
            "executor": "constant-arrival-rate",
            # k6 takes whole numbers.
            "rate": round(self.rate * 100),
            "timeUnit": "100s",
            "duration": _duration(seconds),
            "preAllocatedVUs": self.clients,
            "maxVUs": self.clients,
        }


def in_flight(rate: float, seconds: float = 2.0) -> int:
    """How many requests may be in flight at a rate: as many as come in some seconds, within bounds."""
    return min(max(math.ceil(rate * seconds), LEAST_IN_FLIGHT), MOST_IN_FLIGHT)


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
