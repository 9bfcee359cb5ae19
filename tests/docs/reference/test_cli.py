"""docs/reference/cli.md has every option that --help prints, and each says what it does, with its default."""

import re
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterator

import pytest
from cli_page import commands, has_default, help_of, options

from service.__main__ import parser as service_parser
from training.__main__ import parser as training_parser

PROGRAMS: dict[str, Callable[[], ArgumentParser]] = {
    "yolov7-service": service_parser,
    "yolov7-training": training_parser,
}
OPTION = re.compile(r"--[a-z][a-z0-9-]+")
COMMANDS = [(program, name) for program, parser in PROGRAMS.items() for name, _, _ in commands(parser())]


def actions(program: str) -> Iterator[tuple[str, Action]]:
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
def test_every_command_is_on_the_page(program: str, page: Callable[[str], str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        PROGRAMS[program]().parse_args(["frobnicate"])
    names = re.findall(r"'([a-z]+)'", capsys.readouterr().err.partition("choose from ")[2])
    assert len(names) >= 5
    assert re.findall(rf"^## {program} (.*)$", page("cli.md"), re.MULTILINE) == names
    assert all(text for _, text, _ in commands(PROGRAMS[program]()))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_says_what_it_does_and_its_default(program: str):
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
