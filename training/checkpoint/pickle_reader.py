"""A reader of pickles that runs nothing: it follows the opcodes and builds inert records of what they describe.

A pickle is a program whose REDUCE, OBJ, INST, NEWOBJ and BUILD call whatever the file names. Here no name is ever
imported and nothing that comes from the file is ever called: a class is a ``Global`` (two strings), an object an
``Instance`` (its class and its state), and REDUCE is a look-up in the table ``rebuild`` that the caller passes; any
other REDUCE, and every opcode that torch does not write, is refused. This module knows nothing of torch or of networks.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MAX_PICKLE_BYTES = (
    8 << 20
)  # the largest network's description is 0.7 MB; a hostile one may need 60 bytes for each of its own


class PickleError(Exception):
    """The pickle is damaged, or asks for something that is not data."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function in a pickle; nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return ascii(f"{self.module}.{self.name}"[:80])  # it ends up in messages


@dataclass(slots=True)
class Instance:
    """An object of a class that is only a name, with the attributes that the pickle gave it."""

    kind: Global
    state: dict[object, object] = field(default_factory=dict)


Rebuild = Mapping[Global, Callable[[tuple[object, ...]], object]]

_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


def read_pickle(data: bytes, *, rebuild: Rebuild, persistent: Callable[[object], object]) -> object:
    """Return the inert form of a pickle (protocols 2 to 5).

    ``rebuild`` answers REDUCE by name, ``persistent`` answers BINPERSID; both are our own code.
    Raises PickleError.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise PickleError(f"its description of objects is {len(data)} bytes; {MAX_PICKLE_BYTES} are allowed")
    machine = _Machine(rebuild, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as exc:
        raise PickleError(f"damaged pickle ({exc})") from exc
    if len(machine.stack) != 1:
        raise PickleError("damaged pickle (more than one object is left)")
    return machine.stack[0]


class _Machine:
    """The stack, the marks and the memo of one pickle program."""

    def __init__(self, rebuild: Rebuild, persistent: Callable[[object], object]) -> None:
        self.stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[object, object] = {}
        self._rebuild = rebuild
        self._persistent = persistent

    def step(self, name: str, argument: object) -> None:
        """Do what one opcode says. Raises PickleError for those that torch never writes."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._container_or_object(name, argument)

    def _container_or_object(self, name: str, argument: object) -> None:
        match name:
            case "MARK":
                self._marked.append(self.stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "TUPLE" | "LIST" | "FROZENSET" | "POP_MARK":
                self._collect(name)
            case "APPEND" | "APPENDS" | "ADDITEMS":
                self._extend([self.stack.pop()] if name == "APPEND" else self._to_mark())
            case "SETITEM" | "SETITEMS" | "DICT":
                self._set_items(name)
            case "POP":
                self.stack.pop()
            case _:
                self._object(name, argument)

    def _object(self, name: str, argument: object) -> None:
        match name:
            case "GLOBAL":
                module, _, attribute = str(argument).partition(" ")
                self.stack.append(Global(module, attribute))
            case "STACK_GLOBAL":
                attribute, module = str(self.stack.pop()), str(self.stack.pop())
                self.stack.append(Global(module, attribute))
            case "NEWOBJ":
                self.stack.pop()  # what the constructor would be given
                self.stack.append(Instance(_global(self.stack.pop())))
            case "REDUCE":
                arguments, called = self.stack.pop(), _global(self.stack.pop())
                if called not in self._rebuild or not isinstance(arguments, tuple):
                    raise PickleError(f"it wants to call {called}")
                self.stack.append(self._rebuild[called](arguments))
            case "BUILD":
                self._build()
            case "BINPERSID":
                self.stack.append(self._persistent(self.stack.pop()))
            case _:
                raise PickleError(f"it holds the opcode {name}, which no weights need")

    def _build(self) -> None:
        """Give attributes to the object on top. Containers and numpy values keep none: we read nothing from them."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Instance):
            for part in state if isinstance(state, tuple) else (state,):  # (attributes, slots)
                if isinstance(part, dict):
                    target.state.update(part)
        elif not isinstance(target, dict | list):
            raise PickleError(f"it gives attributes to a {type(target).__name__}")

    def _to_mark(self) -> list[object]:
        items, self.stack = self.stack, self._marked.pop()
        return items

    def _tuple(self, length: int) -> None:
        if length > len(self.stack):
            raise PickleError("damaged pickle (a tuple of missing parts)")
        split = len(self.stack) - length
        self.stack[split:] = [tuple(self.stack[split:])]

    def _collect(self, name: str) -> None:
        items = self._to_mark()
        if name == "TUPLE":
            self.stack.append(tuple(items))
        elif name == "LIST":
            self.stack.append(items)
        elif name == "FROZENSET":
            self.stack.append(frozenset(map(_key, items)))

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(_key, items))
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise PickleError(f"it appends to a {type(target).__name__}")

    def _set_items(self, name: str) -> None:
        items = [self.stack.pop(), self.stack.pop()][::-1] if name == "SETITEM" else self._to_mark()
        if name == "DICT":
            self.stack.append({})
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise PickleError(f"it sets items of a {type(target).__name__}")
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))


def _global(value: object) -> Global:
    if not isinstance(value, Global):
        raise PickleError(f"it uses a {type(value).__name__} as a class")
    return value


def _key(value: object) -> object:
    if not is_plain_key(value):
        raise PickleError(f"it uses a {type(value).__name__} as a key")
    return value


def is_plain_key(value: object) -> bool:
    """Whether a value may be hashed: hashing tuples of tuples that share their parts can take for ever."""
    return value is None or isinstance(value, str | int | float | bytes)
