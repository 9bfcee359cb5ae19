"""What a reader of the pages has: a copy of the tree, terminals, and the eyes to compare what is printed."""

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DONE = "the block is done:"
ANSWER = re.compile(r"```text\n(.*?)```\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of a page, the paragraph before them, and what the page prints as their answer, if anything.

    In an answer … stands for anything, and white space for any or none.
    """

    commands: str
    introduction: str
    answer: str | None

    @property
    def is_run(self) -> bool:
        """Whether the page does not say the contrary."""
        return "not run" not in self.introduction

    def answered_by(self, printed: str) -> bool:
        """Whether what was printed is what the page promises."""
        if self.answer is None:
            return True
        rest = "".join(printed.split())
        for part in "".join(self.answer.split()).split("…"):
            _, there, rest = rest.partition(part) if part else ("", "", rest)
            if part and not there:
                return False
        return True


def blocks_of(page: str) -> list[Block]:
    """Its indented blocks, in order; of fences only those of the kind `text` are looked at, as answers."""
    found: list[Block] = []
    paragraphs = page.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if paragraph.startswith("    "):
            following = "\n\n".join(paragraphs[number + 1 :])
            answer = ANSWER.match(following)
            commands = re.sub(r"^    ", "", paragraph, flags=re.MULTILINE)
            found.append(Block(commands, paragraphs[number - 1], answer[1] if answer else None))
    return found


class Terminal:
    """Standard error is part of what is printed. `close` ends it with all that it started."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A group of its own, so that what runs in the background ends with it.
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, block: str, timeout_s: float = 60.0) -> tuple[int, str]:
        """The status of the block's last command, and what it printed. Raises AssertionError where it takes longer."""
        self.start(f"{block}\nprintf '\\n%s %s\\n' '{DONE}' $?")
        printed: list[str] = []
        until = time.monotonic() + timeout_s
        while not (ended := re.fullmatch(rf"{DONE} (\d+)\n", printed[-1] if printed else "")):
            try:
                printed.append(self._lines.get(timeout=max(until - time.monotonic(), 0)))
            except queue.Empty:
                raise AssertionError(f"after {timeout_s:g} s it had printed only:\n{''.join(printed)}") from None
        return int(ended[1]), "".join(printed[:-1])

    def start(self, block: str) -> None:
        """As `run`, for what does not end by itself."""
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{block}\n")
        self._bash.stdin.flush()

    def close(self) -> None:
        """Ctrl-C, and after ten seconds without mercy."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGINT)
        # All that it started hold its output open: the end of that is theirs.
        self._reader.join(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait(10)
        self._reader.join(10)

    def _read(self) -> None:
        assert self._bash.stdout is not None
        with self._bash.stdout:
            for line in self._bash.stdout:
                self._lines.put(line)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it was cloned and installed: files are links, what is written is the copy's own."""
    folder = tmp_path_factory.mktemp("tree")
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    environment = folder / ".venv"
    environment.mkdir()
    for path in Path(sys.executable).parents[1].iterdir():
        if not path.name.startswith("."):
            (environment / path.name).symlink_to(path)
    # By this make knows that everything is installed.
    (environment / ".service").touch()
    return folder


@pytest.fixture(scope="module")
def free_port() -> Callable[[], int]:
    """Finds a port that nobody listens on."""

    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    return find


@pytest.fixture(scope="module")
def terminal(tree: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals in the tree, which reach no package index; what is given is added to their environment."""
    with contextlib.ExitStack() as opened:

        def open_one(**given: str) -> Terminal:
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("YOLOV7_")}
            one = Terminal(tree, inherited | {"PIP_NO_INDEX": "1", "no_proxy": "127.0.0.1"} | given)
            opened.callback(one.close)
            return one

        yield open_one


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `block` takes each that its page has run, up to its module's UNTIL where it has one."""
    if "block" in metafunc.fixturenames:
        page = (ROOT / "docs" / metafunc.module.PAGE).read_text()
        before = page.partition(getattr(metafunc.module, "UNTIL", "\0"))[0]
        run = [block for block in blocks_of(before) if block.is_run]
        metafunc.parametrize("block", run, ids=[block.commands.partition("\n")[0] for block in run])


@pytest.fixture
def blocks() -> Callable[[str], list[Block]]:
    """The blocks of a page of docs/."""
    return lambda name: blocks_of((ROOT / "docs" / name).read_text())
