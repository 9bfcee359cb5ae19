"""Which frames are taken, where fewer are wanted than come, and when, where a file is to run as a camera does."""


class Limit:
    """At most `fps` frames in a second of the source's own time; all of them where None. No frame comes twice."""

    def __init__(self, fps: float | None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None

    def takes(self, time_s: float) -> bool:
        """Whether the frame of that time is one of them. Times that jump back, as after a cut, begin anew."""
        if not self._period_s:
            return True
        due_s = self._due_s
        if due_s is None or time_s < due_s - 2 * self._period_s:
            due_s = time_s
        # Times are rounded to the clock of the file: a hair early is in time.
        if time_s < due_s - 0.001:
            return False
        # A frame that is a little late does not delay those after it; a gap is not made up for.
        next_s = due_s + self._period_s
        self._due_s = next_s if next_s > time_s else time_s + self._period_s
        return True


class Playing:
    """A file at its own speed: how long until a frame is due, from when the first was."""

    def __init__(self) -> None:
        self._began: float | None = None

    def wait_s(self, time_s: float, now: float) -> float:
        """0 for a frame that is late."""
        if self._began is None:
            self._began = now - time_s
        return max(0.0, self._began + time_s - now)
