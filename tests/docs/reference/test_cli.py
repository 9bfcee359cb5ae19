"""docs/reference/cli.md has every option that --help prints, and each says what it does, with its default."""

import re
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterator

import pytest

from service.__main__ import parser as service_parser
from training.__main__ import parser as training_parser

PROGRAMS: dict[str, Callable[[], ArgumentParser]] = {
    "yolov7-service": service_parser,
    "yolov7-training": training_parser,
}
OPTION = re.compile(r"--[a-z][a-z0-9-]+")
COMMANDS = [
    (program, name)
    for program, names in {
        "yolov7-service": "serve camera bench detect health key",
        "yolov7-training": "describe check train anchors evaluate export promote halve quantise compile import",
    }.items()
    for name in names.split()
]


def actions(program: str) -> Iterator[tuple[str, Action]]:
    from cli_page import commands, options

    for name, _, command in commands(PROGRAMS[program]()):
        for _, _, found in options(command):
            for action in found:
                yield name, action


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_every_option_of_help_is_on_the_page(
    program: str,
    name: str,
    page: Callable[[str], str],
    section: Callable[[str, str], str],
    capsys: pytest.CaptureFixture[str],
):
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program]().parse_args([name, "--help"])
    assert ended.value.code == 0
    printed = set(re.findall(r"^  (?:-h, )?(--[a-z][a-z0-9-]+)", capsys.readouterr().out, re.MULTILINE))
    assert printed
    assert printed - {"--help"} <= set(OPTION.findall(section(page("cli.md"), f"{program} {name}")))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_on_the_page(program: str, page: Callable[[str], str]):
    from cli_page import commands

    names = [name for name, text, _ in commands(PROGRAMS[program]()) if text]
    assert names == [name for found, name in COMMANDS if found == program]
    assert re.findall(rf"^## {program} (.*)$", page("cli.md"), re.MULTILINE) == names


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_says_what_it_does_and_its_default(program: str):
    from cli_page import has_default, help_of

    for name, action in actions(program):
        words = help_of(action)
        assert words, (name, action.dest)
        assert "%(" not in words
        assert not has_default(action) or "default: " in words, (name, action.dest)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_number_is_told_in_words(program: str, capsys: pytest.CaptureFixture[str]):
    for name, action in actions(program):
        if callable(action.type) and action.type.__name__.startswith("_") and action.option_strings:
            with pytest.raises(SystemExit):
                PROGRAMS[program]().parse_args([name, "x", action.option_strings[0], "many"])
            assert "invalid _" not in capsys.readouterr().err, (name, action.dest)
