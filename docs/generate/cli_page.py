"""docs/reference/cli.md: each command, and each of its options with the help that the parser has for it."""

import io
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress

from markup import anchor, code, plain, table

from service.__main__ import parser as service_parser
from training.__main__ import parser as training_parser

SETTINGS = "settings"
HEAD = """# Commands

What `--help` says, of every command of both programs. An option's value may follow it after a space or after `=`; one
without a default and not required may be left out. This page is written from the parsers by `make reference`.

Both end with 0 when all went well, with 1 and one line on standard error when it did not, with 2 for arguments that
cannot be, with 130 or 143 when a signal stopped them; `yolov7-training train` with 3 for a loss that is not finite.

"""


def page() -> str:
    """The text of docs/reference/cli.md."""
    programs = [service_parser(), training_parser()]
    return HEAD + "".join(map(_contents, programs)) + "".join(map(_program, programs)).rstrip() + "\n"


def commands(program: ArgumentParser) -> Iterator[tuple[str, str, ArgumentParser]]:
    """Name, short help and parser of each command of a program."""
    for action in program._actions:  # noqa: SLF001 - argparse tells what it parses nowhere else
        if isinstance(action.choices, dict):
            for told in action._get_subactions():  # noqa: SLF001
                yield told.dest, str(told.help or ""), _filled(action.choices[told.dest])


def options(command: ArgumentParser) -> Iterator[tuple[str, str | None, list[Action]]]:
    """Each group of a command: its title, its description, and what is in it, less `--help`."""
    for group in command._action_groups:  # noqa: SLF001
        found = [action for action in group._group_actions if action.dest != "help"]  # noqa: SLF001
        if found:
            yield str(group.title), group.description, found


def help_of(action: Action) -> str:
    """Its help, as `--help` prints it."""
    return str(action.help or "") % vars(action)


def _filled(command: ArgumentParser) -> ArgumentParser:
    """Parsers of the service get their flags when they are first asked."""
    with suppress(SystemExit), redirect_stdout(io.StringIO()):
        command.parse_known_args(["--help"])
    return command


def _contents(program: ArgumentParser) -> str:
    rows = [
        (f"[`{program.prog} {name}`]({anchor(f'{program.prog} {name}')})", plain(text))
        for name, text, _ in commands(program)
    ]
    return table((code(program.prog), plain(str(program.description))), rows)


def _program(program: ArgumentParser) -> str:
    return "".join(_command(f"{program.prog} {name}", text, command) for name, text, command in commands(program))


def _command(name: str, text: str, command: ArgumentParser) -> str:
    groups = list(options(command))
    positionals = [_written(action) for _, _, found in groups for action in found if not action.option_strings]
    words = plain(command.description or f"{text[:1].upper()}{text[1:]}.")
    parts = [f"## {name}\n\n{words}\n\n    {' '.join([name, '[OPTIONS]', *positionals])}\n\n"]
    for title, description, found in groups:
        if title == SETTINGS:
            parts.append(_settings(found))
            continue
        about = f" {plain(description)}" if description else ""
        parts.append(table((f"{title}:{about}", ""), map(_row, found)))
    if command.epilog:
        parts.append(f"{plain(command.epilog)}\n\n")
    return "".join(parts)


def _settings(found: list[Action]) -> str:
    names = ", ".join(code(action.option_strings[0]) for action in found)
    return f"Settings, of which [settings.md](settings.md) says the rest: {names}.\n\n"


def _row(action: Action) -> tuple[str, str]:
    required = "required; " if action.required and action.option_strings else ""
    return code(_written(action)), required + plain(help_of(action))


def _written(action: Action) -> str:
    """As one writes it, with its value."""
    value = _value(action)
    if not action.option_strings:
        return value
    return " ".join(filter(None, (", ".join(action.option_strings), value)))


def _value(action: Action) -> str:
    if action.nargs == 0:
        return ""
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    name = action.metavar if isinstance(action.metavar, str) else choices or action.dest.replace("_", "-").upper()
    forms = {"?": "[{0}]", "*": "[{0} ...]", "+": "{0} [{0} ...]"}
    return forms.get(str(action.nargs), "{0}").format(name)


def has_default(action: Action) -> bool:
    """Whether it does something of its own where it is not given, which its help must say."""
    return action.default not in (None, False, "", SUPPRESS) and action.default != []
