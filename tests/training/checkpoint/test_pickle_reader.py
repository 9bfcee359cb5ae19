"""Hostile pickles: nothing is executed, and what asks for execution is refused."""

import collections
import os
import pickle
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import pytest

from training.checkpoint.pickle_reader import MAX_PICKLE_BYTES, Global, Instance, PickleError, read_pickle

ORDERED = Global("collections", "OrderedDict")


def read(data: bytes) -> object:
    return read_pickle(data, rebuild={ORDERED: lambda _: {}}, persistent=lambda identity: ("storage", identity))


class Calls:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


class Plain:
    """An ordinary object."""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_survive_every_protocol(protocol: int) -> None:
    value = [
        None,
        True,
        -1,
        300,
        1 << 40,
        2.5,
        "é",
        b"\x00",
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        {"a": [1], 2: {3}},
        (),
    ]
    if protocol < 4:
        value[12] = {"a": [1], 2: {}}  # earlier protocols call `set`
    if protocol < 3:
        value[7] = b""[:0].decode()  # and spell bytes as a call
    assert read(pickle.dumps(value, protocol)) == value


def test_shared_and_cyclic_lists_are_read() -> None:
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    result = read(pickle.dumps(cyclic, 2))
    assert isinstance(result, list)
    assert result[1] is result


def test_objects_become_inert() -> None:
    thing = Plain()
    thing.__dict__["size"] = 3
    result = read(pickle.dumps(thing, 2))
    assert isinstance(result, Instance)
    assert result.kind.name == "Plain"
    assert result.state == {"size": 3}


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, subprocess.Popen, __import__, Path], ids=str)
def test_calls_are_refused(function: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = Calls(function, "open('executed', 'w')")
    for wrapped in (call, [{"model": call}], Calls(collections.OrderedDict, call)):
        with pytest.raises(PickleError):
            read(pickle.dumps(wrapped, protocol))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "program",
    [
        b"(S'touch executed'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch executed'\no.",  # OBJ
        b"\x80\x02cos\nsystem\n)}\x92.",  # NEWOBJ_EX
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pos.system\n.",  # PERSID
        b"\x80\x02ccollections\nOrderedDict\n)R)R.",  # calls what a call returned
        b"\x80\x02ccollections\nOrderedDict\nX\x01\x00\x00\x00aR.",  # arguments that are no tuple
        b"\x80\x02X\x02\x00\x00\x00os)\x81.",  # an object whose class is a string
        b"\x80\x05\x97.",  # out-of-band buffer
    ],
)
def test_opcodes_that_no_weights_need_are_refused(program: bytes) -> None:
    with pytest.raises(PickleError):
        read(program)


def test_setstate_from_the_file_is_only_data() -> None:
    set_up = b"}(X\x0c\x00\x00\x00__setstate__cos\nsystem\nu"  # instance.__setstate__ = os.system, then BUILD again
    result = read(b"\x80\x02cmodels\nM\n)\x81" + set_up + b"b}X\x01\x00\x00\x00aK\x01sb.")
    assert isinstance(result, Instance)
    assert result.state == {"__setstate__": Global("os", "system"), "a": 1}


def test_build_on_anything_but_an_object_is_refused() -> None:
    with pytest.raises(PickleError, match="attributes to a Global"):
        read(b"\x80\x02cos\nsystem\n}b.")


def test_keys_that_would_be_slow_to_hash_are_refused() -> None:
    nested: tuple[Any, ...] = ()
    for _ in range(60):
        nested = (nested, nested)
    with pytest.raises(PickleError, match="as a key"):
        read(b"\x80\x02}" + pickle.dumps(nested, 2)[2:-1] + b"K\x01s.")


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x02", b"h\x05.", b"K\x01K\x02.", b"\x80\x02e.", b"t.", b"\x87."])
def test_damaged_pickles_are_refused(data: bytes) -> None:
    with pytest.raises(PickleError):
        read(data)


def test_every_cut_is_refused() -> None:
    data = pickle.dumps({"a": [1, (2, 3)], "b": "text"}, 2)
    for length in range(len(data)):
        with pytest.raises(PickleError):
            read(data[:length])


def test_an_endless_description_is_refused() -> None:
    with pytest.raises(PickleError, match="are allowed"):
        read(b"]" * (MAX_PICKLE_BYTES + 1))


def test_every_opcode_is_decided() -> None:
    for opcode in pickletools.opcodes:
        program = opcode.code.encode("latin-1") + b"\x00" * 16 + b"."
        try:
            read(b"\x80\x02(]}K\x01" + program)
        except PickleError:
            continue
