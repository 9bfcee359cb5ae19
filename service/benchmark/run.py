"""The steps of one run, one after the other, and the knee if that is looked for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from service.benchmark.figures import Figures
from service.benchmark.knee import LEAST_SHARE, KneeSearch, Objective
from service.benchmark.load import Load, in_flight

# How many times the latency of an idle service is too long, where nobody says.
TIMES_UNLOADED = 5.0
# The first rate that is offered, of what one client gets.
FIRST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """`broken_by`: in a search of the knee, why this rate did not hold."""

    load: Load
    figures: Figures
    broken_by: str | None = None


@dataclass(frozen=True, slots=True)
class Knee:
    """`step` is the largest rate that held, None where none did; `above` the least that did not, None where all did."""

    objective: Objective
    step: Step | None
    above: Step | None


class Run:
    """What was measured stays in `steps` and `knee`, however the run ends. `offer` runs one step.

    `cut`: a signal ended it early. `dead`: a step without any answer 200 did.
    """

    def __init__(self, offer: Callable[[Load], Figures]) -> None:
        self._offer = offer
        self.steps: list[Step] = []
        self.knee: Knee | None = None
        self.cut = False
        self.dead = False

    def measure(self, loads: Iterable[Load]) -> None:
        """Each of them in turn."""
        for load in loads:
            if not self._step(load):
                return

    def find_knee(self, load: Load, *, p99_ms: float | None, steps: int) -> None:
        """One client alone first, then rates, `steps` of them at most. `load` gives the times.

        A rate whose answers all came, but late, is offered once more: one pause of a busy machine makes a p99.
        p99_ms: what holding a rate means; without it, TIMES_UNLOADED as long as half of the answers to one client took.
        """
        if not self._step(replace(load, clients=1, rate=None)):
            return
        alone = self.steps[-1].figures
        objective = Objective(p99_ms or TIMES_UNLOADED * alone.latency_ms["p50"])
        self.knee = Knee(objective, None, None)
        search = KneeSearch(FIRST_SHARE * alone.per_second, steps=steps)
        while rate := search.next_rate():
            offered = replace(load, clients=in_flight(rate, 2 * objective.p99_ms / 1000), rate=rate)
            goes_on = self._step(offered, objective)
            if goes_on and self._only_late():
                goes_on = self._step(offered, objective)
            step = self.steps[-1]
            if self.cut or step.load is not offered:
                return
            # A rate that nothing was answered at ends the search, and lies above the knee like any that broke.
            held = step.broken_by is None
            search.tell(held=held)
            self.knee = replace(self.knee, step=step) if held else replace(self.knee, above=step)
            if not goes_on:
                return

    def _only_late(self) -> bool:
        step = self.steps[-1]
        refused = set(step.figures.statuses) - {"200"}
        return step.broken_by is not None and not refused and step.figures.share >= LEAST_SHARE

    def _step(self, load: Load, objective: Objective | None = None) -> bool:
        """Whether the run goes on after it."""
        try:
            figures = self._offer(load)
        except KeyboardInterrupt:
            self.cut = True
            return False
        if figures.sent:
            broken_by = objective.broken_by(figures) if objective and not figures.cut else None
            self.steps.append(Step(load, figures, broken_by))
        self.cut = figures.cut
        self.dead = not figures.answered and not figures.cut
        return not self.cut and not self.dead
