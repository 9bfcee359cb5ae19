"""The numbers of a run: what the terminal shows, and the summary at the end. Belongs to one thread."""

from collections import Counter, deque

from service.camera.ages import Ages
from service.camera.events import Answered, Dropped, Event, Failed, Notice

# What is shown as "now" is an average of so many seconds.
WINDOW_S = 5.0


class Speed:
    """How often something happened in the last seconds."""

    def __init__(self) -> None:
        # More a second than any camera has are shown as that many.
        self._times: deque[float] = deque(maxlen=2000)

    def add(self, now: float) -> None:
        """It has happened."""
        self._times.append(now)

    def per_s(self, now: float) -> float:
        """In a second, on the average of WINDOW_S or of as long as there is."""
        while self._times and self._times[0] < now - WINDOW_S:
            self._times.popleft()
        return len(self._times) / WINDOW_S


class Tally:
    """`began` and all `now` are on the same clock, which only rises."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.answered = 0
        self.failed = 0
        self.dropped: Counter[str] = Counter()
        self.detections: Counter[str] = Counter()
        self.current: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.states = {"source": "opening", "service": "connecting"}
        self.model = ""
        self.ages = Ages()
        self.delays = Ages()
        self.speed = Speed()
        self.last_failure = ""
        # Where in the source the run has come to: the number of frames behind it.
        self.position = 0

    @property
    def frames(self) -> int:
        """Those that have had their outcome, whichever."""
        return self.answered + self.failed + self.dropped.total()

    def add(self, event: Event, now: float) -> None:
        """What became of frames, or of an end of the run."""
        match event:
            case Answered():
                self._add_answer(event, now)
            case Dropped():
                self.dropped[event.reason] += event.count
                self.position = event.last + 1
            case Failed():
                self.failed += 1
                self.position = event.shot.sequence + 1
                self.last_failure = f"{event.shot.name}: {event.detail}"
            case Notice():
                lost = event.state == "lost"
                self.lost[event.of] += lost
                self.states[event.of] = f"lost, trying again: {event.detail}" if lost else event.detail

    def _add_answer(self, event: Answered, now: float) -> None:
        self.answered += 1
        self.position = event.shot.sequence + 1
        self.model = f"{event.model.name}/{event.model.version}"
        self.current = Counter(event.detections.labels)
        self.detections.update(self.current)
        self.ages.add(event.age_s)
        self.delays.add(event.delay_s)
        self.speed.add(now)
