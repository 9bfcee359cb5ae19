"""How far a build is, by what TensorRT tells: nested phases of steps, shown as bars that come and go.

A build ends early only where TensorRT asks, at the end of a step; an exception would not get through it.
"""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class BuildProgress:
    """A context in which bars are shown; ``phase_start`` and so on are those of TensorRT's progress monitor."""

    def __init__(self, console: Console | None = None) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, int]] = {}
        self.interrupted = False

    @property
    def phases(self) -> dict[str, tuple[float, float | None]]:
        """Steps done and steps to do, by the name of each phase that goes on."""
        tasks = {task.id: task for task in self._bars.tasks}
        return {name: (tasks[task].completed, tasks[task].total) for name, (task, _) in self._tasks.items()}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or by itself."""
        depth = self._tasks[parent][1] + 1 if parent in self._tasks else 0
        self._tasks[phase] = self._bars.add_task("  " * depth + phase, total=steps), depth

    def phase_finish(self, phase: str) -> None:
        """A phase ends, whether or not all of its steps were done."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase)[0])

    def step_complete(self, phase: str, step: int) -> bool:
        """Step number ``step``, from 0, is done. Returns whether to go on."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase][0], completed=step + 1)
        return not self.interrupted

    def interrupt(self) -> None:
        """End the build after the steps that go on."""
        self.interrupted = True
